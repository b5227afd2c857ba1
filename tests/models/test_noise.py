"""An image is decided by its seed, alone and in a batch, under every scheduler that a family accepts."""

import copy
import inspect

import diffusers
import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SchedulerMixin

from diffusion_lens import DiffusionLens
from diffusion_lens.errors import SamplerError
from diffusion_lens.models.noise import evaluating, seeded
from diffusion_lens.testing import FAMILIES
from tests.conftest import tiny_sampler

PROMPT = "a red fox"
SCHEDULERS = sorted(
    name
    for name in dir(diffusers)
    if "Scheduler" in name  # others need not be importable beside an old transformers
    and isinstance(getattr(diffusers, name, None), type)
    and issubclass(getattr(diffusers, name), SchedulerMixin)
)


def pixels(lens, seeds, batch_size):
    lens.denoiser.batch_size = batch_size
    result = lens(PROMPT, "native", seeds, progress=False)
    assert result.table["missing"].isna().all()
    return {seed: np.asarray(result.image("native", seed=seed)).astype(int) for seed in seeds}


def accepted(pipe, scheduler, call):
    """Whether the plain pipeline draws with a scheduler."""
    pipe.scheduler = scheduler
    try:
        pipe(prompt=PROMPT, generator=[torch.Generator().manual_seed(0)], **call)
    except Exception:  # each class fails in its own way with a pipeline that it is not for
        return False
    return True


@pytest.mark.filterwarnings("ignore")  # schedulers warn of configs that are not theirs
@pytest.mark.parametrize(("family", "least"), [("sd", 18), ("flux", 2)])
def test_every_scheduler_draws_the_same_twice_alone_and_in_a_batch(family, least):
    lens = DiffusionLens(FAMILIES[family].build(), defaults=tiny_sampler(family))
    pipe, own, tried = lens.pipeline, lens.pipeline.scheduler, []
    call = {**FAMILIES[family].call, "num_inference_steps": 3}
    lens.defaults = tiny_sampler(family)
    for name in SCHEDULERS:
        try:
            scheduler = getattr(diffusers, name).from_config(own.config)
        except Exception:
            continue
        if not accepted(pipe, scheduler, call):
            continue
        try:
            together = pixels(lens, [0, 1], 4)
        except SamplerError as error:
            assert name in str(error)
            continue
        alone = pixels(lens, [1], 1)
        assert np.array_equal(pixels(lens, [0, 1], 4)[1], together[1]), name
        assert np.array_equal(pixels(lens, [1], 1)[1], alone[1]), name
        # another batch shape rounds otherwise, which no noise of another kind would be
        assert np.abs(alone[1] - together[1]).mean() < 1, name
        tried.append(name)
    assert len(tried) >= least


@pytest.mark.parametrize("family", ["sd3", "flux", "z-image", "auraflow", "lumina2"])
def test_noise_at_each_step_of_a_flow_comes_from_the_seed(family):
    pipe = FAMILIES[family].build()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        pipe.scheduler.config, stochastic_sampling=True
    )
    lens = DiffusionLens(pipe, defaults=tiny_sampler(family))
    once, again = pixels(lens, [0], 1), pixels(lens, [0], 1)
    assert np.array_equal(once[0], again[0])
    assert np.abs(pixels(lens, [1, 0], 2)[0] - once[0]).mean() < 1
    assert "step" not in vars(pipe.scheduler)


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_an_encoder_left_in_training_mode_is_used_in_evaluation_mode(family):
    pipe = FAMILIES[family].build()
    plain = pixels(DiffusionLens(pipe, defaults=tiny_sampler(family)), [0], 1)
    encoder = pipe.text_encoder_3 if family == "sd3" else pipe.text_encoder_2
    encoder.train()
    drawn = pixels(DiffusionLens(pipe, defaults=tiny_sampler(family)), [0], 1)
    assert np.array_equal(plain[0], drawn[0])
    assert encoder.training and all(module.training for module in encoder.modules())


def test_modes_come_back_after_an_error():
    pipe = FAMILIES["sd"].build()
    pipe.unet.train()
    pipe.unet.mid_block.eval()
    with pytest.raises(ZeroDivisionError), evaluating(pipe):
        assert not any(module.training for module in pipe.unet.modules())
        raise ZeroDivisionError
    assert pipe.unet.training and not pipe.unet.mid_block.training and not pipe.vae.training


class OwnNoise(FlowMatchEulerDiscreteScheduler):
    """A scheduler that asks no generator."""

    def step(self, model_output, timestep, sample, **kwargs):
        (moved,) = super().step(model_output, timestep, sample, return_dict=False)
        return (moved + torch.randn_like(moved),)


def test_a_scheduler_that_asks_no_generator_is_refused_by_name():
    pipe = FAMILIES["flux"].build()
    pipe.scheduler = OwnNoise.from_config(pipe.scheduler.config)
    lens = DiffusionLens(pipe, defaults=tiny_sampler("flux"))
    with pytest.raises(SamplerError, match="OwnNoise draws noise of its own"):
        pixels(lens, [0], 1)


def test_a_scheduler_with_a_sampler_of_noise_is_refused_before_anything_is_drawn():
    pipe = FAMILIES["flux"].build()
    pipe.scheduler.noise_sampler = None  # as DPMSolverSDEScheduler has it before the first step
    drawn = []
    pipe.transformer.register_forward_hook(lambda *_: drawn.append(1))
    with pytest.raises(SamplerError, match="FlowMatchEulerDiscreteScheduler draws noise of its own"):
        pixels(DiffusionLens(pipe, defaults=tiny_sampler("flux")), [0], 1)
    assert drawn == []


def test_a_copy_of_a_scheduler_steps_by_itself():
    pipe = FAMILIES["flux"].build()
    noise = torch.zeros(1, 4)
    with seeded(pipe, [torch.Generator().manual_seed(0)]):
        pipe.scheduler.set_timesteps(2)
        other = copy.deepcopy(pipe.scheduler)  # as LTX-2 has one for its sound
        other.step(noise, other.timesteps[0], noise)
        assert "sample" in inspect.signature(other.step).parameters
    assert pipe.scheduler.step_index is None and other.step_index == 1


def test_a_step_that_its_user_set_on_a_scheduler_comes_back():
    pipe = FAMILIES["flux"].build()
    own, generators = pipe.scheduler.step, [torch.Generator().manual_seed(0)]
    pipe.scheduler.step = own
    with seeded(pipe, generators):
        assert pipe.scheduler.step is not own
    assert vars(pipe.scheduler)["step"] is own
    del pipe.scheduler.step
    with seeded(pipe, generators):
        pass
    assert "step" not in vars(pipe.scheduler)
