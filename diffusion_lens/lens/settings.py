"""`Settings`: the sampler settings that all images of a call share, resolved on a pipeline."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from PIL import Image

from diffusion_lens.errors import SamplerError
from diffusion_lens.images.denoise import Denoiser, DrawnImage, ImageRequest
from diffusion_lens.images.sampler import Sampler, use_scheduler
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.models.digest_parts import digest_tensor

__all__ = ["Settings"]


class Settings:
    """Sampler settings, resolved on a pipeline.

    Args:
        conditioner: the pipeline's text side.
        denoiser: its denoising side.
        sampler: settings over the pipeline's own.
        upscale: settings of a second stage.

    Raises:
        SamplerError: a setting that can't be.

    Attributes:
        sampler: the resolved settings.
        second: the resolved settings of the second stage, where there is one.
    """

    def __init__(
        self, conditioner: Conditioner, denoiser: Denoiser, sampler: Sampler, upscale: Sampler | None = None
    ) -> None:
        self.conditioner, self.denoiser = conditioner, denoiser
        self.sampler = sampler.resolve(conditioner.pipe, conditioner.family)
        self.second = self._second_stage(upscale)

    @property
    def steps(self) -> int:
        """Denoising steps of one image, of both stages."""
        return (self.sampler.steps or 0) + ((self.second.steps or 0) if self.second else 0)

    @property
    def guided(self) -> bool:
        """Whether any stage uses classifier-free guidance, and so a negative conditioning."""
        family = self.conditioner.family
        first = self.sampler.guided(self.conditioner.pipe, family)
        return first or (self.second is not None and self.second.guided(self.denoiser.upscaler, family))

    def draw(
        self, requests: Iterable[ImageRequest], on_step: Callable[[int], object] = lambda images: None
    ) -> Iterator[DrawnImage]:
        """The images of `requests`, in order; see `Denoiser.draw`, which also says what it raises."""
        with ExitStack() as stack:
            stack.enter_context(use_scheduler(self.conditioner.pipe, self.sampler.scheduler))
            if self.second is not None:
                stack.enter_context(use_scheduler(self.denoiser.upscaler, self.second.scheduler))
            yield from self.denoiser.draw(requests, self.sampler, self.second, on_step)

    def columns(self) -> dict[str, Any]:
        """The settings as columns of a table; those of a second stage in one column, as JSON."""
        recorded = {**vars(self.sampler), "options": _as_json(self.sampler.options)}
        guidance = recorded["guidance"]
        recorded["guidance"] = None if guidance is None else float(guidance)
        return recorded if self.second is None else {**recorded, "upscale": _as_json(vars(self.second))}

    def _second_stage(self, upscale: Sampler | None) -> Sampler | None:
        if self.denoiser.upscaler is None:
            if upscale is not None:
                raise SamplerError("upscale= was given without a second stage; load one (upscaler=).")
            return None
        given = upscale or Sampler()
        if given.negative_prompt is not None:
            raise SamplerError("Both stages share one negative prompt; give it as negative_prompt=.")
        return given.resolve(self.denoiser.upscaler, self.conditioner.family)


def _as_json(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), sort_keys=True, default=_by_content)


def _by_content(value: Any) -> str:
    """Of an image, an array or a tensor a hash of its content, as two of them may look alike in text."""
    if isinstance(value, Image.Image):
        shown, content = f"{value.mode} {value.width}x{value.height}", value.tobytes()
    elif isinstance(value, torch.Tensor):
        return f"{value.dtype} {'x'.join(map(str, value.shape))} {digest_tensor(value).hex()[:16]}"
    elif isinstance(value, np.ndarray):
        shown, content = f"{value.dtype} {'x'.join(map(str, value.shape))}", value.tobytes()
    else:
        return repr(value)
    return f"{shown} {hashlib.sha256(content).hexdigest()[:16]}"
