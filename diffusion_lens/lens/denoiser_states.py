"""What a block of the denoiser holds while an image is drawn, in the place of an encoder's hidden states.

Of each image, the output of one module of the denoiser in one step is kept, its mean over places. Layers
are those of the text encoder that the images are drawn from, so that probes of denoiser and encoder have
the axis of the lens's curves.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float

from diffusion_lens.errors import InputError, UnsupportedPipelineError
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.denoisers import find_denoiser
from diffusion_lens.models.hooks import find_module
from diffusion_lens.text.states import LayerStates

__all__ = ["DrawnImage", "denoiser_states", "find_block"]


@dataclass(frozen=True)
class DrawnImage:
    """One image whose drawing is watched.

    Attributes:
        prompt: its prompt.
        layer: the layer of the encoder that it is drawn from.
        seed: its seed.
    """

    prompt: str
    layer: int
    seed: int


def find_block(lens: DiffusionLens, block: str = "") -> tuple[str, torch.nn.Module]:
    """A module of the denoiser by its path; the middle block if none is named.

    Raises:
        InputError: the denoiser has no such module, or no middle block.
    """
    denoiser: Any = find_denoiser(lens.pipeline)
    denoiser = getattr(denoiser, "_orig_mod", denoiser)
    name = block
    if not name:
        many = getattr(denoiser, "transformer_blocks", ())
        name = (
            "mid_block"
            if getattr(denoiser, "mid_block", None) is not None
            else (f"transformer_blocks.{len(many) // 2}" if len(many) else "")
        )
    found = find_module(denoiser, name) if name else None
    if found is None:
        children = ", ".join(one for one, _ in denoiser.named_children())
        raise InputError(
            f"{type(denoiser).__name__} has no block {block!r}. Name a module of it by its path, such as "
            f"up_blocks.1; it has {children}."
        )
    return name, found


def denoiser_states(
    lens: DiffusionLens,
    images: Sequence[DrawnImage],
    *,
    encoder: str,
    step: int,
    block: str = "",
    **how: Any,
) -> LayerStates:
    """Draw images once more, one at a time, and keep what a block of the denoiser holds in one step.

    Args:
        lens: the model.
        images: one for each prompt and layer; all prompts have the same layers.
        encoder: the encoder whose layers are drawn.
        step: the denoising step, from 0.
        block: the module, by its path in the denoiser; its middle block if empty.
        how: what else a call of the lens takes, such as `steps`, `guidance` and `readout`.

    Returns:
        `[layer, prompt, 1, width]`, float32: of the prompt's branch alone, not of the negative one.

    Raises:
        InputError: there is no such block or step, or prompts have not the same layers.
        UnsupportedPipelineError: the block runs more than once a step, or gives no states of places.
    """
    name, module = find_block(lens, block)
    prompts = tuple(dict.fromkeys(one.prompt for one in images))
    layers = tuple(sorted({one.layer for one in images}))
    seeds = {(one.prompt, one.layer): one.seed for one in images}
    if len(seeds) != len(prompts) * len(layers) or len(seeds) != len(images):
        raise InputError("The images must be one of each prompt at each of the same layers.")
    kept = {}
    for (prompt, layer), seed in seeds.items():
        with _watch(module) as outputs:
            table = lens(prompt, [layer], seed, encoder=encoder, progress=False, **how).table
        steps = int(table["steps"].iloc[0])
        if not 0 <= step < steps:
            raise InputError(f"step is {step}; there are {steps}, from 0.")
        if len(outputs) % steps or len(outputs) // steps != 1:
            raise UnsupportedPipelineError(
                f"{name} of {type(lens.pipeline).__name__} ran {len(outputs)} times in {steps} steps, so "
                "that it can't be told which run is of which step. Draw with guidance 1, or name another "
                "block."
            )
        kept[prompt, layer] = _mean(outputs[step], name)
    states = torch.stack([torch.stack([kept[one, layer] for one in prompts]) for layer in layers])
    ones = torch.ones(len(prompts), 1)
    return LayerStates.encoded(
        encoder=encoder,
        fingerprint=lens.conditioner.encoders[encoder].fingerprint,
        prompts=prompts,
        layers=layers,
        states=states[:, :, None],
        input_ids=ones.long(),
        mask=ones.bool(),
        tokens=tuple((name,) for _ in prompts),
    )


@contextmanager
def _watch(module: torch.nn.Module) -> Iterator[list[Any]]:
    """The outputs of a module while the body runs."""
    outputs: list[Any] = []
    handle = module.register_forward_hook(lambda _module, _args, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def _mean(output: Any, name: str) -> Float[torch.Tensor, " width"]:
    """The mean over places of the last row, which is the prompt's: a negative one comes first."""
    given = list(output.values()) if isinstance(output, Mapping) else output
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    tensors = [one for one in listed if isinstance(one, torch.Tensor)]
    maps = [one for one in tensors if one.ndim == 4]
    tokens = [one for one in tensors if one.ndim == 3]
    if maps:  # a U-Net's block: [row, width, y, x], and what goes past it
        return maps[0][-1].float().mean((1, 2)).cpu()
    if tokens:  # a transformer's: [row, place, width], the image after the text
        return tokens[-1][-1].float().mean(0).cpu()
    raise UnsupportedPipelineError(f"{name} gives no states of places. Name another block.")
