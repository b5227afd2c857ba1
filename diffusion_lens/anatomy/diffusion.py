"""Sheets of latents, decoded and in false colours: the autoencoder, the noise, the making of an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from diffusion_lens.anatomy.latents import (
    Noised,
    Reconstruction,
    Reference,
    from_latents,
    latent_colours,
    levels,
)
from diffusion_lens.anatomy.sampling import Trajectory
from diffusion_lens.figures.panels import draw_images

__all__ = ["draw_noise", "draw_reconstruction", "draw_trajectory"]


def draw_reconstruction(found: Reconstruction, reference: Reference | None = None) -> Figure:
    """Draw images, their latents in false colours, and what the decoder makes of them.

    Args:
        found: of `reconstruct`; at most ten images look well.
        reference: clean latents that the false colours are taken from, see `latent_colours`.
    """
    rows = [list(found.images), list(latent_colours(found.latents, reference)), list(found.decoded)]
    channels, height, width = found.latents.shape[1:]
    side_y, side_x = found.images.shape[1:3]
    labels = [
        f"image\n{side_y}\N{MULTIPLICATION SIGN}{side_x}\N{MULTIPLICATION SIGN}3",
        f"latent\n{height}\N{MULTIPLICATION SIGN}{width}\N{MULTIPLICATION SIGN}{channels}",
        "decoded",
    ]
    values = [f"{value:.0f} dB" for value in found.psnr]
    blank = [""] * len(values)
    return draw_images(rows, labels, cell_labels=[blank, blank, values])


def draw_noise(pipe: Any, noised: Noised, reference: Reference) -> Figure:
    """Draw one latent under more and more noise: decoded, and in false colours.

    Args:
        pipe: whose decoder draws it.
        noised: of `add_noise`.
        reference: clean latents that the false colours are taken from, see `latent_colours`.
    """
    alpha, sigma = (value.flatten().tolist() for value in levels(pipe, noised.times))
    columns = [
        f"$t={time}$\n$\\alpha={a:.2f}$\n$\\sigma={s:.2f}$"
        for time, a, s in zip(noised.times, alpha, sigma, strict=True)
    ]
    rows = [
        list(from_latents(pipe, noised.latents)),
        list(latent_colours(noised.latents, reference)),
    ]
    return draw_images(rows, ["$z_t$, decoded", "$z_t$, in\nfalse colours"], columns)


def draw_trajectory(
    pipe: Any, found: Trajectory, reference: Reference, steps: Sequence[int] | None = None
) -> Figure:
    """Draw the making of an image: the state and both estimates that the denoiser gives of it.

    Args:
        pipe: whose decoder draws it.
        found: of `follow`.
        reference: clean latents that the false colours are taken from, see `latent_colours`.
        steps: which steps; seven, evenly spaced, if None.
    """
    if steps is None:
        steps = sorted({round(step) for step in np.linspace(0, len(found.times) - 1, 7)})
    chosen = list(steps)
    rows = [
        list(from_latents(pipe, found.latents[chosen])),
        list(from_latents(pipe, found.clean[chosen])),
        list(latent_colours(found.noise[chosen], reference)),
    ]
    labels = [
        "state $z_t$,\ndecoded",
        "estimate of the\nclean $z_0$, decoded",
        "estimate of the noise,\nin false colours",
    ]
    columns = [f"step {step + 1}\n$t={found.times[step]}$" for step in chosen]
    return draw_images(rows, labels, columns)
