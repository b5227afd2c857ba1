"""Draw many images in few calls: rows of layers and seeds share a batch of the pipeline's own loop."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from diffusion_lens.errors import OutOfMemoryError
from diffusion_lens.lens.sampler import Sampler
from diffusion_lens.models.conditioner import Conditioning
from diffusion_lens.models.pipelines import PipelineFamily

__all__ = ["Drawing", "Painter", "Row"]

log = logging.getLogger(__name__)

Pixels = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Row:
    """One image to make: its text arguments, positive and negative, and its seed."""

    positive: Conditioning
    negative: Conditioning
    seed: int


@dataclass(frozen=True)
class Drawing:
    """One image made, or why there is none.

    Attributes:
        image: the picture; None where it would not be one.
        missing: why not; None where there is a picture.
        upscaled: the picture of the second stage, where there is one.
    """

    image: Image.Image | None
    missing: str | None = None
    upscaled: Image.Image | None = None


@dataclass
class Painter:
    """A pipeline's denoising side.

    All rows of one seed start from the same noise, drawn on the CPU by a generator of their own, as the
    plain pipeline draws it for `torch.Generator("cpu").manual_seed(seed)`.

    Attributes:
        pipe: the pipeline.
        family: how it takes its text.
        batch_size: images a call; halved for good when memory runs out.
        upscaler: the second stage of DeepFloyd IF, conditioned on the same states.
    """

    pipe: Any
    family: PipelineFamily
    batch_size: int
    upscaler: Any = None

    def draw(
        self,
        rows: Sequence[Row],
        sampler: Sampler,
        upscale: Sampler | None = None,
        on_step: Callable[[int], object] = lambda images: None,
    ) -> Iterator[Drawing]:
        """The images of `rows`, in order.

        Args:
            rows: what to draw; rows next to each other whose tensors have one shape share a batch.
            sampler: resolved settings.
            upscale: resolved settings of the second stage.
            on_step: called after each denoising step with the number of images in the batch.

        Raises:
            OutOfMemoryError: not even one image fits.
        """
        done = 0
        while done < len(rows):
            batch = _same_shape(rows[done : done + self.batch_size])
            try:
                drawings = self._call(batch, sampler, upscale, on_step)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                self._shrink(len(batch), error)
                continue
            done += len(batch)
            yield from drawings

    def _shrink(self, size: int, error: BaseException) -> None:
        if size == 1:
            raise OutOfMemoryError(
                "Not even one image fits into memory. Make it smaller (height=, width=), load the model "
                'with offload="model" or in 16 bits, or release the text encoders first '
                "(release_encoders=True)."
            ) from error
        self.batch_size = size // 2
        log.warning("Out of memory at %d images a batch; going on with %d.", size, self.batch_size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _call(
        self,
        rows: Sequence[Row],
        sampler: Sampler,
        upscale: Sampler | None,
        on_step: Callable[[int], object],
    ) -> list[Drawing]:
        dims = self.family.batch_dims
        text = {
            **_collate([row.positive for row in rows], dims),
            **_collate([row.negative for row in rows], dims),
        }
        if "negative_prompt" in _parameters(self.pipe):
            text["negative_prompt"] = None  # PixArt's default is "", and refused beside embeddings
        seeds = [row.seed for row in rows]
        with use_quiet(self.pipe):
            output = self.pipe(
                **text,
                **sampler.arguments(self.family),
                **_step_callback(self.pipe, lambda: on_step(len(rows))),
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="np" if self.upscaler is None else "pt",
            )
        blocked = _blocked(output, len(rows))
        if self.upscaler is None:
            return [_drawing(*pair) for pair in zip(output.images, blocked, strict=True)]
        with use_quiet(self.upscaler):
            second = self.upscaler(
                **text,
                **(upscale or Sampler()).arguments(self.family),
                **_step_callback(self.upscaler, lambda: on_step(len(rows))),
                image=output.images,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="np",
            )
        small = (output.images / 2 + 0.5).clamp(0, 1).cpu().permute(0, 2, 3, 1).float().numpy()
        return [
            _drawing(one, block, two) for one, block, two in zip(small, blocked, second.images, strict=True)
        ]


def _same_shape(rows: Sequence[Row]) -> Sequence[Row]:
    """The first rows whose tensors have one shape."""
    first = _shapes(rows[0])
    for index, row in enumerate(rows):
        if _shapes(row) != first:
            return rows[:index]
    return rows


def _shapes(row: Row) -> list[tuple[str, Any]]:
    """What must agree within a batch; ragged arguments, given as lists, need not."""
    return [
        (name, tuple(value.shape) if isinstance(value, torch.Tensor) else type(value))
        for name, value in (*row.positive.items(), *row.negative.items())
    ]


def _collate(parts: Sequence[Conditioning], dims: Mapping[str, int]) -> dict[str, Any]:
    batch: dict[str, Any] = {}
    for name, value in parts[0].items():
        if isinstance(value, torch.Tensor):
            batch[name] = torch.cat([part[name] for part in parts], dims.get(name, 0))
        elif isinstance(value, list):
            batch[name] = [item for part in parts for item in part[name]]
    return batch


def _parameters(pipe: Any) -> Mapping[str, Any]:
    return inspect.signature(pipe.__call__).parameters


def _step_callback(pipe: Any, tell: Callable[[], object]) -> dict[str, Any]:
    """The pipeline's own way to report each step, under either of its two names."""
    parameters = _parameters(pipe)
    if "callback_on_step_end" in parameters:

        def on_end(_pipe: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            tell()
            return tensors

        return {"callback_on_step_end": on_end}
    if "callback" in parameters:
        return {"callback": lambda *_: tell()}
    return {}


@contextmanager
def use_quiet(pipe: Any) -> Iterator[None]:
    """Without the pipeline's own progress bar, which knows of one batch only."""
    before = getattr(pipe, "_progress_bar_config", {})
    pipe.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


def _blocked(output: Any, count: int) -> list[bool]:
    """Which images the pipeline's safety checker took away."""
    flags = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
    return [bool(flag) for flag in flags] if flags else [False] * count


def _drawing(pixels: np.ndarray, blocked: bool, upscaled: np.ndarray | None = None) -> Drawing:
    """A picture from the pipeline's floats in 0..1, or why it is none."""
    if blocked:
        return Drawing(None, "blocked by the pipeline's safety checker")
    if not np.isfinite(pixels).all():
        return Drawing(None, "not finite: the numbers overflowed (try float32 or bfloat16)")
    image = to_pixels(pixels)
    if not image.any():
        return Drawing(None, "black: every pixel is zero")
    if upscaled is None:
        return Drawing(Image.fromarray(image))
    if not np.isfinite(upscaled).all():
        return Drawing(Image.fromarray(image), "not finite in the second stage")
    return Drawing(Image.fromarray(image), None, Image.fromarray(to_pixels(upscaled)))


def to_pixels(values: np.ndarray) -> Pixels:
    """8-bit pixels of floats in 0..1, rounded as diffusers rounds them."""
    pixels = (values * 255).round().astype("uint8")
    return pixels if pixels.shape[-1] == 3 else np.repeat(pixels[..., :1], 3, axis=-1)


def _out_of_memory(error: BaseException) -> bool:
    # torch's CPU allocator and oneDNN, which could not get its scratch memory, have no class for it
    signs = ("can't allocate memory", "could not create a primitive")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)
