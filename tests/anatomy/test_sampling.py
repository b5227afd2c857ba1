"""The making of an image is followed without changing it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_lens.anatomy import latents, sampling
from diffusion_lens.errors import InputError, UnsupportedPipelineError

PROMPT = "a dog at night"


def plain(pipe, prompt, seed, steps, guidance):
    output = pipe(
        prompt,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator("cpu").manual_seed(seed),
    )
    return np.asarray(output.images[0])


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_followed_image_is_the_pipelines_own(emoji, guidance):
    pipe = emoji.pipeline
    hooks = len(pipe.unet._forward_hooks)
    path = sampling.follow(pipe, PROMPT, seed=2, steps=3, guidance=guidance)
    assert len(pipe.unet._forward_hooks) == hooks
    assert (np.asarray(path.image) == plain(pipe, PROMPT, 2, 3, guidance)).all()
    assert path.times == (999, 666, 332)
    assert path.pull.shape == ((3,) if guidance > 1 else (0,))


def test_both_estimates_mix_to_the_state(emoji):
    path = sampling.follow(emoji.pipeline, PROMPT, steps=3)
    alpha, sigma = latents.levels(emoji.pipeline, path.times)
    assert torch.allclose(alpha * path.clean + sigma * path.noise, path.latents, atol=1e-4)
    noise = torch.randn(path.latents[0].shape, generator=torch.Generator("cpu").manual_seed(0))
    assert torch.allclose(path.latents[0], noise, atol=1e-6)


def test_the_estimates_are_the_guided_answers(emoji):
    pipe = emoji.pipeline
    path = sampling.follow(pipe, PROMPT, steps=2, guidance=3.0)
    with torch.no_grad():
        told, null = pipe.encode_prompt(PROMPT, "cpu", 1, True)
        states = torch.cat([null, told])
        answer = pipe.unet(path.latents[:1].expand(2, -1, -1, -1), 999, states).sample
    guided = answer[:1] + 3.0 * (answer[1:] - answer[:1])
    clean, noise = latents.split(pipe, path.latents[:1], guided, [999])
    assert torch.allclose(path.clean[:1], clean, atol=1e-5)
    assert torch.allclose(path.noise[:1], noise, atol=1e-5)
    assert float(path.pull[0]) == pytest.approx(
        float((answer[1] - answer[0]).square().mean().sqrt()), rel=1e-4
    )


def test_the_hook_goes_also_after_a_failure(emoji):
    hooks = len(emoji.pipeline.unet._forward_hooks)
    with pytest.raises(RuntimeError, match="on purpose"), sampling.watch_denoiser(emoji.pipeline):
        raise RuntimeError("on purpose")
    assert len(emoji.pipeline.unet._forward_hooks) == hooks


def test_a_solver_that_asks_twice_a_step_is_refused(emoji):
    from diffusers import HeunDiscreteScheduler

    pipe = emoji.pipeline
    own = pipe.scheduler
    pipe.scheduler = HeunDiscreteScheduler.from_config(own.config)
    try:
        with pytest.raises(UnsupportedPipelineError, match="called the denoiser 3 times in 2 steps"):
            sampling.follow(pipe, PROMPT, steps=2)
    finally:
        pipe.scheduler = own


def test_without_a_u_net_there_is_nothing_to_watch():
    with pytest.raises(UnsupportedPipelineError, match="no U-Net"), sampling.watch_denoiser(object()):
        pass


def test_every_prompt_needs_its_seed(emoji):
    with pytest.raises(InputError, match="1 seeds were given for 2 prompts"):
        sampling.sample(emoji.pipeline, ["a dog", "a cat"], [0])


def test_a_sweep_holds_every_prompt_seed_and_scale(emoji):
    table = sampling.sweep_guidance(emoji.pipeline, ["a dog", "a cat"], [0, 5], [1.0, 4.0], steps=2)
    assert len(table) == 8
    row = table[(table["prompt"] == "a cat") & (table["seed"] == 5) & (table["guidance"] == 4)].iloc[0]
    again = np.asarray(sampling.sample(emoji.pipeline, ["a cat"], [5], steps=2, guidance=4.0)[0])
    assert np.abs(np.asarray(row["image"]).astype(int) - again).max() <= 1  # of another batch shape


def test_fit_and_diversity_are_known_for_known_vectors(untyped):
    import pandas as pd

    # images tell their own vectors by their first pixel: along x, along y, in between
    vectors = {0: (1.0, 0.0), 1: (0.0, 1.0), 2: (0.6, 0.8)}
    clip = SimpleNamespace(
        embed_images=lambda images: torch.tensor([vectors[image.getpixel((0, 0))] for image in images]),
        embed_texts=lambda texts: torch.tensor([(1.0, 0.0)] * len(texts)),
    )
    table = pd.DataFrame(
        {
            "prompt": "a dog",
            "seed": [0, 1] * 2,
            "guidance": [1, 1, 4, 4],
            "image": [Image.new("L", (1, 1), value) for value in (0, 1, 0, 2)],
        }
    )
    found = sampling.guidance_effects(table, clip).set_index("guidance")
    assert found["fit"].tolist() == pytest.approx([0.5, 0.8])
    assert found["diversity"].tolist() == pytest.approx([1.0, 0.4])
    with pytest.raises(InputError, match="two or more"):
        sampling.guidance_effects(table[table["seed"] == 0], clip)
