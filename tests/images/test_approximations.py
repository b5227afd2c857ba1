"""Approximations: off by default, named where they are on, and shown for what they do."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffusion_lens.bench.approximation_error import measure_approximations
from diffusion_lens.errors import ExperimentError, RunError, SamplerError
from diffusion_lens.images import Approximations, approximate
from diffusion_lens.sweep.open import run_sweep
from tests.conftest import needs
from tests.sweep.helpers import make, read, same


class Pictures:
    """Draws one prompt's layers with approximations, and counts the rows that the denoiser is given."""

    def __init__(self, lens):
        self.lens, self.rows = lens, []
        denoiser = getattr(lens.pipeline, "unet", None) or lens.pipeline.transformer
        denoiser.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _module, given, named):
        self.rows.append(len(given[0] if given else named["hidden_states"]))

    def __call__(self, steps=6, guidance=4.0, **approximations):
        self.rows = []
        approximate(self.lens.denoiser, Approximations(**approximations))
        drawn = self.lens("a red fox", [0, 2], steps=steps, guidance=guidance, progress=False)
        return np.stack([np.asarray(one, int) for one in drawn.table["image"]])


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3"])
def test_guidance_is_dropped_after_its_part_of_the_steps(new_lens, family):
    draw = Pictures(new_lens(family))
    exact = draw()
    assert draw.rows == [4] * 6
    assert not np.array_equal(draw(guided=0.5), exact)
    assert draw.rows == [4, 4, 4, 2, 2, 2]
    assert np.array_equal(draw(guided=1.0), exact)
    assert np.array_equal(draw(), exact) and draw.rows == [4] * 6


@pytest.mark.parametrize(
    "cache", [pytest.param({"first_block": 1.0}, marks=needs("diffusers", "0.40")), {"pyramid": 2}]
)
def test_a_cache_of_blocks_skips_work_and_can_be_taken_back(new_lens, cache):
    lens = new_lens("flux")
    draw = Pictures(lens)
    runs = []
    lens.pipeline.transformer.single_transformer_blocks[-1].attn.to_q.register_forward_pre_hook(
        lambda *_: runs.append(1)
    )
    exact = draw()
    full = len(runs)
    draw(**cache)
    assert len(runs) - full < full
    assert np.array_equal(draw(), exact)


def test_what_can_not_be_approximated_is_told(tiny_lens):
    with pytest.raises(SamplerError, match="UNet2DConditionModel has no cache of blocks"):
        approximate(tiny_lens("sd").denoiser, Approximations(first_block=0.1))
    with pytest.raises(SamplerError, match="guided is not possible with FluxPipeline"):
        approximate(tiny_lens("flux").denoiser, Approximations(guided=0.5))
    with pytest.raises(SamplerError, match=r"approximations\.guided is 2\.0; it must be a part"):
        make(approximations={"guided": 2})
    with pytest.raises(ExperimentError, match=r"no key 'step' in \[approximations\]. Did you mean 'steps'"):
        make(approximations={"step": 2})


def test_approximate_images_are_cells_of_their_own(tiny_lens, tmp_path):
    lens = tiny_lens("sd")
    run_sweep(make(), tmp_path / "exact", lens=lens, progress=False)
    asked = make(approximations={"steps": 1, "precision": "bfloat16"})
    run_sweep(asked, tmp_path / "near", lens=lens, progress=False)
    exact, near = read(tmp_path / "exact"), read(tmp_path / "near")
    assert set(near["approximations"]) == {"steps=1+precision=bfloat16"} and set(near["steps"]) == {1}
    assert set(exact["approximations"]) == {""} and exact["identical"].any() and not near["identical"].any()
    assert set(exact["cell"]).isdisjoint(near["cell"])
    with pytest.raises(RunError, match=r"approximations was 'steps=1\+precision=bfloat16' and is ''"):
        run_sweep(make(), tmp_path / "near", lens=lens, progress=False)
    run_sweep(make(), tmp_path / "again", lens=lens, progress=False)  # nothing is left on the lens
    same(read(tmp_path / "again"), exact)


def test_drift_is_measured_by_layer(emoji):
    trials = [Approximations(guided=0.5), Approximations(first_block=0.1)]
    found = measure_approximations(emoji, ["a red fox"], seeds=1, steps=2, trials=trials)
    again, guided, refused = found[:7], found[7:14], found[14]
    assert [one.layer for one in guided] == list(range(7))
    assert all(one.rmse == 0 and one.psnr == float("inf") and one.agreement == 1 for one in again)
    assert all(0 < one.rmse < 255 and 0 < one.psnr < 60 and 0 <= one.agreement <= 1 for one in guided)
    assert refused.approximation == "first_block=0.1" and "has no cache of blocks" in refused.note
    assert not str(emoji.denoiser.approximations)


class Syncs(TorchDispatchMode):
    """Counts numbers that are taken out of tensors, for which a GPU would have to be waited for."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_the_lens_adds_no_wait_to_the_denoising_loop(tiny_lens):
    lens = tiny_lens("sd")
    pipe = lens.pipeline

    def by_the_lens(steps):
        lens("a red fox", [2], 0, steps=steps, progress=False)

    def plainly(steps):
        generator = torch.Generator("cpu").manual_seed(0)
        pipe("a red fox", num_inference_steps=steps, height=16, width=16, generator=generator)

    def per_step(draw):
        counts = []
        for steps in (2, 7):
            with Syncs() as syncs:
                draw(steps)
            counts.append(syncs.count)
        return counts[1] - counts[0]

    assert per_step(by_the_lens) == per_step(plainly)
