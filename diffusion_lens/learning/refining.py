"""Conditioning optimised for an image through the frozen denoiser, starting from R(x).

c* = argmin_c E || v - v_theta(z_t, t, c) ||^2 with the denoiser's own loss: Textual Inversion (Gal et
al. 2022, arXiv 2208.01618, equation 2) of the whole conditioning instead of a word's vector. From R(x)
it needs few steps; from the mean or the empty prompt's conditioning, many.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diffusion_lens.errors import InputError
from diffusion_lens.learning.latent_inversion import LatentInversion, States
from diffusion_lens.learning.objective import DenoisingLoss, frozen
from diffusion_lens.models.conditioning import Conditioning

__all__ = ["STARTS", "Refining", "refine"]

STARTS = ("R(image)", "mean", "empty prompt")
MEASURED = 16  # noises and times by image at which the error is measured, always the same ones


@dataclass(frozen=True)
class Refining:
    """Conditioning of images after some steps.

    Attributes:
        steps: how many steps.
        states: the conditioning.
        errors: the denoiser's squared error on each image, mean over fixed noises and times.
    """

    steps: int
    states: States
    errors: Float[Tensor, " image"]


def refine(
    inversion: LatentInversion,
    images: Sequence[Image.Image],
    start: str = "R(image)",
    steps: Sequence[int] = (40,),
    *,
    lr: float = 0.01,
    draws: int = 4,
    seed: int = 0,
) -> list[Refining]:
    """Optimise the conditioning of several images together.

    Args:
        inversion: a model with its R.
        images: the images that the conditioning should make.
        start: one of `STARTS`.
        steps: the numbers of steps after which the conditioning is given back; the last ends it.
        lr: the learning rate of Adam; the standard deviation of the states is about 0.4.
        draws: noises and times for each image and step.
        seed: the seed of noises and times.

    Raises:
        InputError: no such start, or steps that are negative.
    """
    if not steps or min(steps) < 0:
        raise InputError(f"steps is {tuple(steps)}; give one or more numbers of at least 0.")
    latents = inversion.latents(images)
    states = _start(inversion, latents, start).clone().requires_grad_()
    optimizer = torch.optim.Adam([states], lr)
    generator = torch.Generator().manual_seed(seed)
    denoiser = DenoisingLoss(inversion.pipe)
    found = []
    with frozen(inversion.pipe):
        for step in range(max(steps) + 1):
            if step in steps:
                kept = states.detach().clone()
                found.append(Refining(step, kept, _measure(denoiser, latents, kept)))
            if step < max(steps):
                _errors(denoiser, latents, states, draws, generator).mean().backward()
                optimizer.step()
                optimizer.zero_grad()
    return found


def _start(inversion: LatentInversion, latents: Tensor, start: str) -> States:
    if start == "R(image)":
        with torch.no_grad():
            return inversion.inverter(latents)
    if start == "mean":
        return inversion.mean.repeat(len(latents), 1, 1)
    if start == "empty prompt":
        return inversion.encode("").repeat(len(latents), 1, 1)
    raise InputError(f"{start!r} is no start. Allowed: {', '.join(map(repr, STARTS))}.")


def _errors(
    denoiser: DenoisingLoss, latents: Tensor, states: Tensor, draws: int, generator: torch.Generator
) -> Float[Tensor, " image"]:
    """The denoiser's error on each image, mean over draws."""
    many = latents.cpu().repeat_interleave(draws, 0)
    text = Conditioning({"prompt_embeds": states.repeat_interleave(draws, 0).to(denoiser.module.dtype)})
    return denoiser.errors(many, text, generator).view(len(latents), draws).mean(1)


@torch.no_grad()
def _measure(denoiser: DenoisingLoss, latents: Tensor, states: Tensor) -> Float[Tensor, " image"]:
    generator = torch.Generator().manual_seed(12345)
    return _errors(denoiser, latents, states, MEASURED, generator).cpu()
