"""Sampler settings: what the pipeline is asked for besides the text and the seed."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from diffusion_lens.errors import SamplerError
from diffusion_lens.models.pipelines import PipelineFamily

__all__ = ["Sampler", "check_seeds", "use_scheduler"]


@dataclass(frozen=True)
class Sampler:
    """Settings that pass through to the pipeline; None leaves a setting to the pipeline.

    Attributes:
        steps: denoising steps.
        guidance: guidance scale; at most 1 turns classifier-free guidance off (Z-Image: 0).
        height: image height in pixels.
        width: image width in pixels.
        negative_prompt: what not to draw.
        scheduler: a diffusers scheduler class by name, such as "DPMSolverMultistepScheduler".
        options: any other argument of the pipeline's `__call__`.
    """

    steps: int | None = None
    guidance: float | None = None
    height: int | None = None
    width: int | None = None
    negative_prompt: str | None = None
    scheduler: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def over(self, defaults: "Sampler") -> "Sampler":
        """These settings, and `defaults` where nothing is set."""
        given = {
            name: value
            for name in self.__dataclass_fields__
            if (value := getattr(self, name)) is not None and name != "options"
        }
        return replace(defaults, **given, options={**defaults.options, **self.options})

    def resolve(self, pipe: Any, family: PipelineFamily) -> "Sampler":
        """These settings with the pipeline's own defaults filled in, as they are recorded.

        Raises:
            SamplerError: an option that the pipeline's `__call__` does not take, or a bad value.
        """
        parameters = inspect.signature(pipe.__call__).parameters
        _check_options(pipe, self.options, parameters)
        steps = parameters["num_inference_steps"].default if self.steps is None else self.steps
        guidance = parameters[family.guidance].default if self.guidance is None else self.guidance
        if not isinstance(steps, int) or steps < 1:
            raise SamplerError(f"steps is {steps!r}; it must be a whole number of at least 1.")
        if guidance is not None and not isinstance(guidance, (int, float)):
            raise SamplerError(f"guidance is {guidance!r}; it must be a number.")
        for name in ("height", "width"):
            size = getattr(self, name)
            if size is not None and (not isinstance(size, int) or size < 8):
                raise SamplerError(f"{name} is {size!r}; it must be a number of pixels of at least 8.")
        if self.negative_prompt is not None and "negative_prompt" not in parameters:
            raise SamplerError(f"{type(pipe).__name__} takes no negative prompt; leave it out.")
        scheduler = self.scheduler or type(pipe.scheduler).__name__
        return replace(self, steps=steps, guidance=guidance, scheduler=scheduler)

    def arguments(self, family: PipelineFamily) -> dict[str, Any]:
        """The arguments of the pipeline's `__call__`."""
        settings = {
            "num_inference_steps": self.steps,
            family.guidance: self.guidance,
            "height": self.height,
            "width": self.width,
        }
        return {name: value for name, value in settings.items() if value is not None} | dict(self.options)

    def guided(self, pipe: Any, family: PipelineFamily) -> bool:
        """Whether the pipeline will use classifier-free guidance."""
        scale = self.guidance
        if family.cfg != family.guidance:
            default = inspect.signature(pipe.__call__).parameters[family.cfg].default
            scale = self.options.get(family.cfg, default)
        return scale is not None and scale > family.cfg_above


_OURS = {
    "prompt": "the first argument",
    "negative_prompt": "negative_prompt=",
    "generator": "seeds=",
    "latents": "seeds=",
    "num_inference_steps": "steps=",
    "num_images_per_prompt": "seeds=",
    "clip_skip": "layers=",
    "output_type": "result.image",
    "return_dict": "the result",
}


def _check_options(pipe: Any, options: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    for name in options:
        if name in _OURS or name.startswith(("prompt_", "negative_", "pooled_")):
            instead = _OURS.get(name, "the prompt and the layers")
            raise SamplerError(f"{name!r} is the lens's own to set; use {instead}.")
        if name not in parameters:
            taken = [one for one in parameters if one not in _OURS and "prompt" not in one]
            raise SamplerError(
                f"{type(pipe).__name__} takes no option {name!r}. It takes: {', '.join(taken)}."
            )


def check_seeds(seeds: Any) -> tuple[int, ...]:
    """The seeds as a tuple, each once.

    Raises:
        SamplerError: none, or one that is no integer in `0 .. 2**63 - 1`.
    """
    given = [seeds] if isinstance(seeds, (int, str, float)) else list(seeds)
    if not given:
        raise SamplerError("No seed was given; give at least one, such as seeds=[0].")
    for seed in given:
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= int(seed) < 2**63:
            raise SamplerError(
                f"{seed!r} is no seed; a seed is a whole number of at least 0, such as 0 or 42."
            )
    return tuple(dict.fromkeys(int(seed) for seed in given))


@contextmanager
def use_scheduler(pipe: Any, name: str | None) -> Iterator[None]:
    """Give the pipeline another scheduler of the same config while the body runs.

    Raises:
        SamplerError: no compatible scheduler of that name.
    """
    own = pipe.scheduler
    if name is None or name == type(own).__name__:
        yield
        return
    allowed = {kind.__name__: kind for kind in getattr(own, "compatibles", [])}
    kind = allowed.get(name) or allowed.get(f"{name}Scheduler")
    if kind is None:
        raise SamplerError(
            f"{name!r} is no scheduler for {type(pipe).__name__} with {type(own).__name__}. Allowed: "
            f"{', '.join(sorted({type(own).__name__, *allowed}))}."
        )
    pipe.scheduler = kind.from_config(own.config)
    try:
        yield
    finally:
        pipe.scheduler = own
