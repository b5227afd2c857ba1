"""The reverse process: the input and the output of the denoiser at each step of an image.

Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598) asks the denoiser twice, with the
caption and with the empty one, and goes beyond the first answer: `empty + w (caption - empty)`. The `w`
of diffusers is theirs plus one, so that 1 means no guidance.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diffusion_lens.anatomy.latents import split
from diffusion_lens.errors import InputError, UnsupportedPipelineError
from diffusion_lens.images.denoise import use_quiet
from diffusion_lens.models.clip import Clip

__all__ = ["Trajectory", "follow", "guidance_effects", "sample", "sweep_guidance", "watch_denoiser"]


@dataclass(frozen=True)
class Trajectory:
    """The making of one image.

    Attributes:
        prompt: the caption.
        guidance: the scale `w`; at most 1 means no guidance.
        times: the schedule's time of each step, falling.
        latents: `z_t`, what the denoiser was given at each step.
        clean: its estimate of the clean latent, guided.
        noise: its estimate of the noise, guided.
        pull: root mean square by step of the difference that the caption makes to its answer;
            empty without guidance.
        image: the image.
    """

    prompt: str
    guidance: float
    times: tuple[int, ...]
    latents: Float[Tensor, "step channel y x"]
    clean: Float[Tensor, "step channel y x"]
    noise: Float[Tensor, "step channel y x"]
    pull: Float[Tensor, " guided"]
    image: Image.Image


@dataclass(frozen=True)
class _Call:
    latents: Tensor
    time: int
    output: Tensor


def follow(pipe: Any, prompt: str, seed: int = 0, *, steps: int = 20, guidance: float = 4.0) -> Trajectory:
    """Make an image and keep what the denoiser saw and said.

    Args:
        pipe: a pipeline with a `unet` and a DDPM schedule; the same after as before.
        prompt: the caption; "" for an unconditional sample.
        seed: of the noise that it starts from.
        steps: denoising steps.
        guidance: the scale `w`.

    Raises:
        UnsupportedPipelineError: no U-Net, no DDPM schedule, an unknown kind of prediction, or a solver
            that asks the denoiser more than once a step.
    """
    with watch_denoiser(pipe) as calls:
        image = sample(pipe, [prompt], [seed], steps=steps, guidance=guidance)[0]
    times = tuple(call.time for call in calls)
    if len(calls) != steps:
        raise UnsupportedPipelineError(
            f"{type(pipe.scheduler).__name__} called the denoiser {len(calls)} times in {steps} steps; "
            "only solvers that ask once a step can be followed."
        )
    latents = torch.cat([call.latents[:1] for call in calls])
    captioned = torch.cat([call.output[-1:] for call in calls])
    if guidance > 1:
        null = torch.cat([call.output[:1] for call in calls])
        pull = (captioned - null).square().mean((1, 2, 3)).sqrt()
        outputs = null + guidance * (captioned - null)
    else:
        outputs, pull = captioned, torch.empty(0)
    clean, noise = split(pipe, latents, outputs, times)
    return Trajectory(prompt, guidance, times, latents, clean, noise, pull, image)


def sample(
    pipe: Any, prompts: Sequence[str], seeds: Sequence[int], *, steps: int = 20, guidance: float = 4.0
) -> list[Image.Image]:
    """The pipeline's images of prompts, each from a seed of its own, in one batch.

    Raises:
        InputError: not one seed by prompt.
    """
    if len(prompts) != len(seeds):
        raise InputError(f"{len(seeds)} seeds were given for {len(prompts)} prompts.")
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    with use_quiet(pipe):
        output = pipe(
            list(prompts), num_inference_steps=steps, guidance_scale=guidance, generator=generators
        )
    return list(output.images)


def sweep_guidance(
    pipe: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    scales: Sequence[float],
    *,
    steps: int = 20,
) -> pd.DataFrame:
    """Make each prompt from each seed at each guidance scale.

    Returns:
        one row an image: columns `prompt`, `seed`, `guidance` and `image`.
    """
    cells = [(prompt, seed) for prompt in prompts for seed in seeds]
    parts = []
    for scale in scales:
        images = sample(pipe, [p for p, _ in cells], [s for _, s in cells], steps=steps, guidance=scale)
        part = pd.DataFrame(cells, columns=["prompt", "seed"])
        parts.append(part.assign(guidance=scale, image=pd.Series(images, dtype=object)))
    return pd.concat(parts, ignore_index=True)


def guidance_effects(table: pd.DataFrame, clip: Clip) -> pd.DataFrame:
    """What guidance buys and what it costs, for each prompt and scale.

    Args:
        table: of `sweep_guidance`, with two seeds or more.
        clip: the judge of how well an image fits its prompt.

    Returns:
        columns `prompt`, `guidance`, `fit` (mean cosine similarity of prompt and image in CLIP) and
        `diversity` (mean distance, one minus cosine, between images of two seeds in CLIP).

    Raises:
        InputError: fewer than two seeds.
    """
    rows = []
    for (prompt, guidance), group in table.groupby(["prompt", "guidance"], sort=False):
        if len(group) < 2:
            raise InputError("Diversity is between seeds: two or more are needed.")
        images = clip.embed_images(list(group["image"]))
        fit = (images @ clip.embed_texts([str(prompt)]).T).mean()
        near = (images @ images.T)[tuple(torch.triu_indices(len(group), len(group), 1))]
        rows.append((prompt, guidance, float(fit), float(1 - near.mean())))
    return pd.DataFrame(rows, columns=["prompt", "guidance", "fit", "diversity"])


@contextmanager
def watch_denoiser(pipe: Any) -> Iterator[list[_Call]]:
    """Keep every input and output of the U-Net while the body runs; the hook is taken back after.

    Raises:
        UnsupportedPipelineError: the pipeline has no U-Net.
    """
    if getattr(pipe, "unet", None) is None:
        raise UnsupportedPipelineError(f"{type(pipe).__name__} has no U-Net to watch.")
    calls: list[_Call] = []

    def keep(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given: Any = args[0] if args else kwargs["sample"]
        time: Any = args[1] if len(args) > 1 else kwargs["timestep"]
        answer: Any = output[0]
        calls.append(_Call(given.detach().float().cpu(), round(float(time)), answer.detach().float().cpu()))

    handle = pipe.unet.register_forward_hook(keep, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()
