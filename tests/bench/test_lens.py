"""The benchmark: every way is measured, and every optimization can be pulled, on the CPU at tiny size."""

import math
import multiprocessing

import numpy as np
import pytest
import torch

from diffusion_lens import DiffusionLens
from diffusion_lens.bench.architectures import ARCHITECTURES, build_architecture
from diffusion_lens.bench.lens import bench
from diffusion_lens.bench.tuning import find_optimizations
from diffusion_lens.errors import InputError
from diffusion_lens.images.optimizations import Optimizations, choose_optimizations, optimize
from diffusion_lens.models.pipelines import find_family
from diffusion_lens.testing import FAMILIES


def build(name: str, batch_size: int | None = 4):
    return build_architecture(name, device="cpu", dtype=torch.float32, size="tiny", batch_size=batch_size)


@pytest.fixture(autouse=True)
def optimizations_are_undone(tiny_lens):
    yield
    optimize(tiny_lens("sd").pipeline, Optimizations())  # nothing of its own, and all kernels are allowed
    torch.compiler.reset()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_measured(name):
    lens = build(name)
    layers = lens.plan().depth + 1
    optimizations = Optimizations(channels_last=True, fuse_qkv=True)
    timings = bench(lens, seeds=2, steps=1, rounds=1, optimizations=optimizations)
    assert [one.way for one in timings] == ["per image", "per layer", "lens", "sweep", "lens"]
    assert [one.images for one in timings] == [2, 4, 2 * layers, 2 * layers, 2 * layers]
    assert timings[0].speedup == 1 and timings[-1].optimizations == "channels_last+fuse_qkv"
    assert all(one.seconds > 0 and one.tflops > 0 and one.share > 0 for one in timings)


def test_processes_are_measured_beside_the_other_ways(tmp_path):
    FAMILIES["sd"].build().save_pretrained(tmp_path / "sd")  # which each process loads
    # in another type than the workers' own choice, on most machines
    lens = DiffusionLens.from_pretrained(str(tmp_path / "sd"), dtype="bfloat16", batch_size=4)
    timings = bench(lens, seeds=1, steps=1, rounds=1, processes=2)
    assert [one.way for one in timings] == ["per image", "per layer", "lens", "sweep", "processes"]
    assert timings[-1].images == 2 * 2 * timings[-1].batch == 16
    assert timings[-1].speedup > 0
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_optimizations_do_not_change_the_mathematics(name):
    plain = build(name, 3)("a red fox", "all", [0, 1], progress=False)
    lens = build(name, 3)
    optimize(
        lens.pipeline,
        Optimizations(compile="eager", channels_last=True, fuse_qkv=True, attention="efficient"),
    )
    lens.denoiser.fill = True
    seen = []
    denoiser = getattr(lens.pipeline, "unet", None) or lens.pipeline.transformer

    @torch.compiler.disable  # or it would be compiled anew each time, since what it saw before has changed
    def see(_, given, named):
        seen.append((given[0] if given else named["hidden_states"]).shape)

    denoiser.register_forward_pre_hook(see, with_kwargs=True)
    fast = lens("a red fox", "all", [0, 1], progress=False)
    for one, other in zip(plain.table["image"], fast.table["image"], strict=True):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 2
    assert len(set(seen)) == 1  # the short last batch was filled


def test_optimizations_are_found_by_trial(new_lens):
    def build_batch(size: int) -> DiffusionLens:
        lens = new_lens("flux")
        lens.denoiser.batch_size = size
        return lens

    optimizations, size, trials = find_optimizations(build_batch, sizes=(2, 4), steps=1, compile=("eager",))
    assert size in (2, 4) and isinstance(optimizations, Optimizations)
    tried = " ".join(one.optimizations for one in trials)
    assert "fuse" in tried and "compile" in tried and "attention" in tried
    assert all(not math.isnan(one.seconds) for one in trials if not one.note)
    assert [(one.images, one.note) for one in trials[:2]] == [(2, ""), (4, "")]


def test_what_a_model_can_not_do_is_noted(new_lens):
    _, _, trials = find_optimizations(lambda size: new_lens("lumina2"), sizes=(1,), steps=1, compile=())
    assert [one.note for one in trials if "fuse" in one.optimizations] == [
        "Lumina2Transformer2DModel has no projections that can be fused."
    ]


def test_compilation_is_chosen_for_long_plans_on_cuda():
    assert choose_optimizations("auto", "cuda", 100_000) == Optimizations(
        compile="default", channels_last=True
    )
    assert choose_optimizations("auto", "cuda", 100) == Optimizations()
    assert choose_optimizations("auto", "cpu", 100_000) == Optimizations()
    assert choose_optimizations("on", "cpu", 1) == Optimizations(compile="default")
    assert choose_optimizations("off", "cuda", 100_000) == Optimizations()


def test_the_16_bit_type_is_that_of_the_family():
    assert find_family(ARCHITECTURES["sdxl"].pipeline).half == "float16"
    assert find_family(ARCHITECTURES["flux"].pipeline).half == "bfloat16"
    assert build_architecture("flux", device="cpu", size="tiny").pipeline.dtype == torch.float32


def test_no_such_architecture():
    with pytest.raises(InputError, match=r"'sd3' is no architecture. Allowed: sd21, sdxl, flux"):
        build("sd3")
