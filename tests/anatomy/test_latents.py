"""Latents, noise, and what a denoiser's answer says of both, against known answers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from PIL import Image

from diffusion_lens.anatomy import latents
from diffusion_lens.errors import InputError, UnsupportedPipelineError
from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.diffusion import NOISE_SCHEDULE

TIMES = [0, 1, 250, 500, 999]


@pytest.fixture(scope="module")
def drawn():
    return [scenes.sample(90_001, index) for index in range(4)]


@pytest.fixture(scope="module")
def images(drawn):
    return [Image.fromarray(scenes.render(scene)) for scene in drawn]


def pipe_that_predicts(kind):
    return SimpleNamespace(scheduler=DDPMScheduler(**{**NOISE_SCHEDULE, "prediction_type": kind}))


def test_a_latent_is_the_scaled_mean_of_the_posterior(emoji, images):
    pipe = emoji.pipeline
    found = latents.to_latents(pipe, images)
    pixels = torch.from_numpy(np.array(images[0])).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        mean = pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor
    assert torch.allclose(found[:1], mean, atol=1e-5)


def test_a_reconstruction_says_how_much_smaller_and_how_near(emoji, images):
    found = latents.reconstruct(emoji.pipeline, images)
    assert found.compression == 64 * 64 * 3 / (16 * 8 * 8)
    assert found.decoded.shape == found.images.shape
    off = np.full((2, 4, 4, 3), 100, np.uint8)
    known = latents.Reconstruction(off, torch.zeros(2, 1, 1, 1), off + np.uint8(1))
    assert np.allclose(known.psnr, 20 * np.log10(255))


def test_images_must_be_alike(emoji, images):
    with pytest.raises(InputError, match="of one size"):
        latents.to_latents(emoji.pipeline, [images[0], images[1].resize((32, 32))])
    with pytest.raises(InputError, match="at least one"):
        latents.to_latents(emoji.pipeline, [])
    with pytest.raises(InputError, match="RGB"):
        latents.to_latents(emoji.pipeline, [images[0].convert("L")])


def test_noise_has_the_variance_that_the_schedule_says(emoji):
    latent = torch.full((16, 64, 64), 0.5)
    found = latents.add_noise(emoji.pipeline, latent, TIMES)
    beta = NOISE_SCHEDULE["beta_start"]
    # the first step adds beta_start, the last all but leaves noise of variance 1
    first = found.latents[0] - latent * (1 - beta) ** 0.5
    assert first.var().item() == pytest.approx(beta, rel=0.02)
    kept = float(emoji.pipeline.scheduler.alphas_cumprod[-1])
    assert (found.latents[-1] - latent * kept**0.5).var().item() == pytest.approx(1 - kept, rel=0.02)


def test_noised_latents_are_those_of_diffusers(emoji, images):
    latent = latents.to_latents(emoji.pipeline, images[:1])[0]
    found = latents.add_noise(emoji.pipeline, latent, TIMES, seed=3)
    count = len(TIMES)
    own = DDPMScheduler(**NOISE_SCHEDULE).add_noise(
        latent.expand(count, -1, -1, -1), found.noise.expand(count, -1, -1, -1), torch.tensor(TIMES)
    )
    assert torch.allclose(found.latents, own, atol=1e-5)
    assert torch.allclose(found.latents[0], latent, atol=0.03 * 6)  # at t = 0 hardly anything is added


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_a_perfect_answer_gives_back_what_was_mixed(kind):
    pipe = pipe_that_predicts(kind)
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(5, 4, 8, 8, generator=generator) for _ in range(2))
    times = torch.tensor(TIMES)
    mixed = pipe.scheduler.add_noise(clean, noise, times)
    velocity = pipe.scheduler.get_velocity(clean, noise, times)
    answer = velocity if kind == "v_prediction" else noise
    found_clean, found_noise = latents.split(pipe, mixed, answer, TIMES)
    assert torch.allclose(found_clean, clean, atol=2e-4)
    assert torch.allclose(found_noise, noise, atol=1e-5)


def test_the_schedule_keeps_variance():
    table = latents.schedule(pipe_that_predicts("epsilon"))
    assert len(table) == 1000
    assert np.allclose(table["alpha"] ** 2 + table["sigma"] ** 2, 1)
    assert np.allclose(table["log_snr"], 2 * np.log(table["alpha"] / table["sigma"]))


def test_what_has_no_such_schedule_is_said(images):
    flow = SimpleNamespace(scheduler=FlowMatchEulerDiscreteScheduler())
    with pytest.raises(UnsupportedPipelineError, match="flow matching"):
        latents.schedule(flow)
    sample = torch.zeros(1, 4, 8, 8)
    with pytest.raises(UnsupportedPipelineError, match="'sample'"):
        latents.split(pipe_that_predicts("sample"), sample, sample, [0])
    for time in (-1, 1000):
        with pytest.raises(InputError, match=r"0\.\.999"):
            latents.add_noise(pipe_that_predicts("epsilon"), sample[0], [time])


def test_colours_put_the_mean_at_grey_and_do_not_depend_on_sign():
    points = torch.randn(6, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    mean = points.mean((0, 2, 3))[None, :, None, None].expand(1, 5, 2, 2)
    assert np.isin(latents.latent_colours(mean, points), [127, 128]).all()
    assert (latents.latent_colours(points) == latents.latent_colours(points, points)).all()
    # the first component is where most variance is
    points[:, 2] *= 10
    lit = latents.latent_colours(mean + 30 * torch.eye(5)[2][None, :, None, None], points)
    assert (lit[..., 0] > 200).all()


def test_errors_are_those_of_training(emoji, drawn, images):
    texts = [captions.caption(scene, 90_001, index) for index, scene in enumerate(drawn)]
    table = latents.prediction_errors(emoji.pipeline, images, texts, times=[100, 900])
    assert list(table.columns) == ["image", "time", "given", "error"]
    assert len(table) == 4 * 2 * 2
    error = table.groupby("given")["error"].mean()
    assert error["caption"] < error["nothing"] < 1.5
    # one that always predicts zero has the error of the target, whatever it is given
    zero = torch.nn.Module()
    zero.forward = lambda sample, *_, **__: SimpleNamespace(sample=torch.zeros_like(sample))
    zero.device, zero.dtype = torch.device("cpu"), torch.float32
    pipe = SimpleNamespace(
        vae=emoji.pipeline.vae,
        scheduler=emoji.pipeline.scheduler,
        unet=zero,
        encode_prompt=emoji.pipeline.encode_prompt,
    )
    wide = latents.prediction_errors(pipe, images, texts, [900]).pivot(index="image", columns="given")
    assert (wide["error", "caption"] == wide["error", "nothing"]).all()
    clean = latents.to_latents(pipe, images)
    alpha, sigma = (float(value) for value in latents.levels(pipe, [900]))
    expected = alpha**2 + sigma**2 * clean.square().mean((1, 2, 3))  # noise and latent don't correlate
    assert wide["error", "caption"].to_numpy() == pytest.approx(expected.numpy(), rel=0.25)


def test_every_image_needs_its_caption(emoji, images):
    with pytest.raises(InputError, match="1 captions were given for 4 images"):
        latents.prediction_errors(emoji.pipeline, images, ["a dog"], [0])
