"""Draw many images in few calls: requests of layers and seeds share a batch of the pipeline's own loop."""

import inspect
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from PIL import Image

from diffusion_lens.errors import OutOfMemoryError, SamplerError, UnsupportedPipelineError
from diffusion_lens.files import ImageOrReason
from diffusion_lens.images.approximations import Approximations, drop_guidance
from diffusion_lens.images.batches import ImageRequest, collate, for_each, same_shape
from diffusion_lens.images.pixels import image_of
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.images.text_swap import TextSwap
from diffusion_lens.models.family import images_of
from diffusion_lens.models.memory import free_memory, is_decoding, is_out_of_memory, use_slicing
from diffusion_lens.models.noise import seeded
from diffusion_lens.models.pipelines import PipelineFamily
from diffusion_lens.models.stages import text_stage

__all__ = ["Denoiser", "DrawnImage", "ImageRequest", "use_quiet"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrawnImage(ImageOrReason):
    """An image that was made, or why there is none.

    Attributes:
        upscaled: the image of the second stage, where there is one.
        batch: the images of the batch that it was made in, fillers included.
        seconds: its share of the batch's time.
    """

    upscaled: Image.Image | None = None
    batch: int = 1
    seconds: float = 0.0


@dataclass
class Denoiser:
    """A pipeline's denoising side.

    All requests of one seed start from the same noise, drawn on the CPU by a generator of their own, as the
    plain pipeline draws it for `torch.Generator("cpu").manual_seed(seed)`.

    Attributes:
        pipe: the pipeline.
        family: how it takes its text.
        device: where it computes.
        batch_size: images a call; halved for good when memory runs out.
        one_by_one: decode latents one by one; so for good where memory runs out at decoding.
        upscaler: the second stage of DeepFloyd IF, conditioned on the same states.
        fill: repeat the last request of a short batch up to `batch_size`, so that compiled code meets one
            shape only.
        approximations: what is given up for speed; set by `approximate`.
    """

    pipe: Any
    family: PipelineFamily
    device: torch.device
    batch_size: int
    upscaler: Any = None
    fill: bool = False
    one_by_one: bool = False
    approximations: Approximations = field(default_factory=Approximations)

    def draw(
        self,
        requests: Iterable[ImageRequest],
        sampler: Sampler,
        upscale: Sampler | None = None,
        on_step: Callable[[int], object] = lambda images: None,
    ) -> Iterator[DrawnImage]:
        """The images of `requests`, in order.

        Args:
            requests: what to draw, taken as they are needed; neighbours whose tensors have one shape
                share a batch.
            sampler: resolved settings.
            upscale: resolved settings of the second stage.
            on_step: called after each denoising step with the number of images in the batch.

        Raises:
            OutOfMemoryError: not even one image fits.
            SamplerError: the pipeline refuses the settings.
        """
        coming, waiting = iter(requests), deque[ImageRequest]()
        while True:
            size = 1 if self.family.one_image else self.batch_size
            waiting.extend(islice(coming, max(0, size - len(waiting))))
            if not waiting:
                return
            batch = same_shape(list(islice(waiting, size)))
            filled = batch + batch[-1:] * (size - len(batch) if self.fill else 0)
            start = time.perf_counter()
            try:
                images = self._draw_batch(filled, sampler, upscale, on_step)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                decoding = not self.one_by_one and is_decoding(error, getattr(self.pipe, "vae", None))
                if len(filled) == 1:
                    raise OutOfMemoryError(
                        "Not even one image fits into memory. Make it smaller (height, width), load the "
                        "model with offload model or in 16 bits, or release the text encoders first "
                        "(release_encoders)."
                    ) from error
                images = None  # gone on below, when the error no longer holds the batch's memory
            if images is None:
                self._reduce_memory(len(filled), decoding)
                continue
            seconds = (time.perf_counter() - start) / len(batch)
            for image in images[: len(batch)]:
                waiting.popleft()
                yield replace(image, batch=len(filled), seconds=seconds)

    def _reduce_memory(self, size: int, decoding: bool) -> None:
        """Take less memory from now on."""
        if decoding:
            self.one_by_one = True
            log.warning("Out of memory at decoding %d images; decoding one by one.", size)
        else:
            self.batch_size = size // 2
            log.warning("Out of memory at %d images a batch; going on with %d.", size, self.batch_size)
        free_memory()
        self.pipe.maybe_free_model_hooks()  # what a cache of blocks remembers of the batch that was cut

    def _draw_batch(
        self,
        requests: Sequence[ImageRequest],
        sampler: Sampler,
        upscale: Sampler | None,
        on_step: Callable[[int], object],
    ) -> list[DrawnImage]:
        seeds = [request.seed for request in requests]
        kind = "np" if self.upscaler is None else "pt"
        output = self._first_stage(requests, sampler, seeds, on_step, kind)
        if self.upscaler is None:
            blocked = _blocked(output, len(requests))
            return [
                DrawnImage(*image_of(pixels, flag))
                for pixels, flag in zip(images_of(output), blocked, strict=True)
            ]
        settings = (upscale or Sampler()).arguments(self.family)
        settings = {**self._text(requests), **settings, "image": output.images}
        second = self._run(self.upscaler, settings, seeds, on_step, "np")
        # the first stage's floats of -1..1 went on as they are, without a look by its safety checker
        small = (output.images / 2 + 0.5).clamp(0, 1).cpu().permute(0, 2, 3, 1).float().numpy()
        images = []
        for one, two, flag in zip(small, second.images, _blocked(second, len(requests)), strict=True):
            image, missing = image_of(one, False)
            upscaled, missing_too = image_of(two, flag)
            reason = missing or (missing_too and f"{missing_too}, in the second stage")
            images.append(DrawnImage(image, reason, upscaled))
        return images

    def _first_stage(
        self,
        requests: Sequence[ImageRequest],
        sampler: Sampler,
        seeds: Sequence[int],
        on_step: Callable[[int], object],
        kind: str,
    ) -> Any:
        """What the pipeline returns; some steps or blocks may read another conditioning than the rest."""
        arguments, first = self.arguments(requests, sampler), requests[0]
        if first.only is None or first.inside is None:
            return self._run(self.pipe, arguments, seeds, on_step, kind)
        if self.upscaler is not None:
            raise UnsupportedPipelineError(f"{first.only} can't be drawn with a second stage.")
        inside = [replace(one, positive=one.inside or one.positive) for one in requests]
        swap = TextSwap(self.pipe, first.only)
        with swap.look():
            self._run(self.pipe, self.arguments(inside, sampler), seeds, lambda images: None, kind)

        def tell(images: int) -> None:
            swap.step += 1
            on_step(images)

        with swap.use():
            return self._run(self.pipe, arguments, seeds, tell, kind)

    def arguments(self, requests: Sequence[ImageRequest], sampler: Sampler) -> dict[str, Any]:
        """What the pipeline is called with for one batch, besides generators and the type of output.

        Args:
            requests: the batch; its tensors have one shape.
            sampler: resolved settings.
        """
        settings = sampler.arguments(self.family)
        if "negative_prompt" in _parameters(self.pipe):
            settings["negative_prompt"] = None  # PixArt's default is "", and refused beside embeddings
        if not requests[0].negative and self.family.cfg == "true_cfg_scale":
            settings["true_cfg_scale"] = 1.0  # without a negative prompt it is off, and Qwen-Image warns
        edits = {"strength", "image_guidance_scale"} & set(_parameters(self.pipe))
        if edits and "image" in settings:
            # each image of the batch begins with its own encoding of the image given, by its own generator
            settings["image"] = for_each(settings["image"], len(requests))
        return {**self._text(requests), **settings, **self.family.beside_text}

    def _text(self, requests: Sequence[ImageRequest]) -> dict[str, Any]:
        return {
            **collate([request.positive for request in requests], self.family.batch_dims, self.device),
            **collate([request.negative for request in requests], self.family.batch_dims, self.device),
        }

    def _run(
        self,
        pipe: Any,
        arguments: dict[str, Any],
        seeds: Sequence[int],
        on_step: Callable[[int], object],
        output_type: str,
    ) -> Any:
        """Call a pipeline with a generator for each seed."""
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        callback = _step_callback(
            pipe, self.family, lambda: on_step(len(seeds)), self.approximations.guided
        )
        precision = self.approximations.precision
        autocast = torch.autocast(
            self.device.type, getattr(torch, precision or "bfloat16"), enabled=precision is not None
        )
        try:
            with (
                seeded(pipe, generators),
                use_quiet(pipe),
                use_slicing(getattr(pipe, "vae", None), self.one_by_one),
                autocast,
            ):
                given = {**arguments, **callback, "generator": generators, "output_type": output_type}
                return pipe(**given) if self.family.draw is None else self.family.draw(pipe, given)
        except ValueError as error:  # what diffusers raises for sizes and combinations it refuses
            raise SamplerError(f"{type(pipe).__name__} refuses these settings: {error}") from error


def _parameters(pipe: Any) -> Mapping[str, Any]:
    return inspect.signature(pipe.__call__).parameters


def _step_callback(
    pipe: Any, family: PipelineFamily, tell: Callable[[], object], guided: float | None
) -> dict[str, Any]:
    """The pipeline's own way to report each step, under either of its two names.

    Args:
        pipe: the pipeline.
        family: its family.
        tell: called at each step.
        guided: the part of the steps after which guidance is dropped; never if None.
    """
    parameters = _parameters(pipe)
    if "callback_on_step_end" in parameters:

        def on_end(_pipe: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            tell()
            late = guided is not None and step + 1 >= guided * pipe.num_timesteps
            if late and pipe.do_classifier_free_guidance:
                drop_guidance(pipe, family, tensors)
            return tensors

        inputs = (
            {} if guided is None else {"callback_on_step_end_tensor_inputs": list(family.guided_inputs)}
        )
        return {"callback_on_step_end": on_end, **inputs}
    if "callback" in parameters:
        return {"callback": lambda *_: tell()}
    return {}


@contextmanager
def use_quiet(pipe: Any) -> Iterator[None]:
    """Without the pipeline's own progress bar, which knows of one batch only."""
    before = getattr(text_stage(pipe), "_progress_bar_config", {})
    pipe.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


def _blocked(output: Any, count: int) -> list[bool]:
    """Which images the pipeline's safety checker took away."""
    flags = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
    return [bool(flag) for flag in flags] if flags else [False] * count
