"""Images of text states, drawn by a denoiser in training or by one that is learned from."""

from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from diffusion_lens.testbed.export import sampler

__all__ = ["draw_states"]


@torch.no_grad()
def draw_states(
    denoiser: Any,
    vae: AutoencoderKL,
    states: Float[Tensor, "image token width"],
    empty: Float[Tensor, "token width"],
    noise: Float[Tensor, "image channel y x"],
    steps: int,
    guidance: float,
) -> Float[Tensor, "image 3 side side"]:
    """Draw states with the sampler that is shipped, all in one batch.

    Args:
        denoiser: a `UNet2DConditionModel`, on the device of `vae`.
        vae: the autoencoder of its latents.
        states: of the captions.
        empty: of the empty caption, for guidance.
        noise: what the images start from.
        steps: denoising steps.
        guidance: guidance scale.

    Returns:
        The decoder's output on that device; -1 is black and 1 is white, and values may lie beyond.
    """
    scheduler = sampler()
    scheduler.set_timesteps(steps)
    device = vae.device
    both = torch.cat([empty.expand(len(states), -1, -1), states]).to(device)
    latents = noise.to(device)
    for time in scheduler.timesteps:
        null, told = denoiser(torch.cat([latents, latents]), time, both).sample.chunk(2)
        latents = scheduler.step(null + guidance * (told - null), time, latents).prev_sample
    pictures: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
    return pictures
