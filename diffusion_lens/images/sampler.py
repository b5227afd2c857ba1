"""Sampler settings: what the pipeline is asked for besides the text and the seed."""

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from diffusion_lens.errors import SamplerError
from diffusion_lens.models.pipelines import PipelineFamily

__all__ = ["Sampler", "check_seeds", "count_calls", "find_scheduler", "use_scheduler"]

# more is a slip of the keyboard, and fills the memory before anything else is said
_MOST_STEPS, _MOST_PIXELS = 10_000, 16_384


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
        _check_options(pipe, family, self.options, parameters)
        steps = _default(parameters, "num_inference_steps") if self.steps is None else self.steps
        guidance = _default(parameters, family.guidance) if self.guidance is None else self.guidance
        if isinstance(steps, bool) or not hasattr(steps, "__index__") or not 1 <= steps <= _MOST_STEPS:
            raise SamplerError(f"steps is {steps!r}; it must be a whole number from 1 to {_MOST_STEPS}.")
        if guidance is not None and not (isinstance(guidance, (int, float)) and math.isfinite(guidance)):
            raise SamplerError(f"guidance is {guidance!r}; it must be a number.")
        for name in ("height", "width"):
            size = getattr(self, name)
            if size is not None and (not hasattr(size, "__index__") or not 8 <= size <= _MOST_PIXELS):
                raise SamplerError(f"{name} is {size!r}; it must be from 8 to {_MOST_PIXELS} pixels.")
        if (self.height is None) != (self.width is None):
            raise SamplerError("Give height and width together; pipelines ignore one without the other.")
        if self.negative_prompt is not None and not isinstance(self.negative_prompt, str):
            raise SamplerError(f"negative_prompt is {self.negative_prompt!r}; it must be text.")
        if self.negative_prompt is not None and "negative_prompt" not in parameters:
            raise SamplerError(f"{type(pipe).__name__} takes no negative prompt; leave it out.")
        scheduler = find_scheduler(pipe, self.scheduler).__name__
        guidance = None if guidance is None else float(guidance)
        return replace(
            self,
            steps=int(steps),
            guidance=guidance,
            scheduler=scheduler,
            options={**self.options, **family.settings},
        )

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
        """Whether the pipeline will use classifier-free guidance, or may."""
        if family.cfg is None:
            return True
        scale = self.guidance
        if family.cfg != family.guidance:
            default = _default(inspect.signature(pipe.__call__).parameters, family.cfg)
            scale = self.options.get(family.cfg, default)
        return scale is not None and scale > family.cfg_above


_OURS = {
    "prompt": "the first argument",
    "negative_prompt": "negative_prompt=",
    "generator": "seeds=",
    "latents": "seeds=",
    "num_inference_steps": "steps=",
    "num_images_per_prompt": "seeds=",
    "num_videos_per_prompt": "seeds=",
    "clip_skip": "layers=",
    "callback": "progress=",
    "callback_steps": "progress=",
    "callback_on_step_end": "progress=",
    "output_type": "result.image",
    "return_dict": "the result",
}


def _default(parameters: Mapping[str, Any], name: str) -> Any:
    """The pipeline's own default of an argument; None where it takes no such argument."""
    return parameters[name].default if name in parameters else None


def _check_options(
    pipe: Any, family: PipelineFamily, options: Mapping[str, Any], parameters: Mapping[str, Any]
) -> None:
    for name, value in options.items():
        if name in family.settings:
            if value != family.settings[name]:
                raise SamplerError(
                    f"{name} is {value!r}; the lens reads the prompt as it is written, which needs "
                    f"{name}={family.settings[name]!r}. Leave it out."
                )
            continue
        if name in family.not_options:
            raise SamplerError(f"The lens draws {family.title} without {name!r}; leave it out.")
        if name == family.guidance:
            raise SamplerError(f"{name!r} is the lens's own to set; use guidance=.")
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
    given = list(seeds) if isinstance(seeds, Iterable) and not isinstance(seeds, str) else [seeds]
    if not given:
        raise SamplerError("No seed was given; give at least one, such as 0.")
    for seed in given:
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= int(seed) < 2**63:
            raise SamplerError(
                f"{seed!r} is no seed; a seed is a whole number of at least 0, such as 0 or 42."
            )
    return tuple(dict.fromkeys(int(seed) for seed in given))


def find_scheduler(pipe: Any, name: str | None) -> Any:
    """A scheduler class by name, with or without "Scheduler" at its end; the pipeline's own if None.

    Raises:
        SamplerError: no compatible scheduler of that name.
    """
    own = type(pipe.scheduler)
    # its noise comes from a tree of its own, not from the generator of the seed
    others = [kind for kind in getattr(pipe.scheduler, "compatibles", []) if "SDE" not in kind.__name__]
    allowed = {kind.__name__: kind for kind in (own, *others)}
    found = own if name is None else allowed.get(name) or allowed.get(f"{name}Scheduler")
    if found is None:
        raise SamplerError(
            f"{name!r} is no scheduler for {type(pipe).__name__} with {own.__name__}. Allowed: "
            f"{', '.join(sorted(allowed))}."
        )
    return found


def count_calls(pipe: Any, sampler: Sampler) -> int | None:
    """How often a scheduler asks the denoiser, which is more than once a step for some; None if unknown.

    Args:
        pipe: the pipeline.
        sampler: resolved settings.
    """
    config = dict(pipe.scheduler.config)
    if config.get("use_dynamic_shifting"):  # the shift depends on the size, the number of calls does not
        config["use_dynamic_shifting"] = False
    scheduler = find_scheduler(pipe, sampler.scheduler).from_config(config)
    try:
        scheduler.set_timesteps(sampler.steps)
    except (TypeError, ValueError):  # it wants a schedule that the pipeline makes
        return None
    return len(scheduler.timesteps)


@contextmanager
def use_scheduler(pipe: Any, name: str | None) -> Iterator[None]:
    """Give the pipeline another scheduler of the same config while the body runs.

    Raises:
        SamplerError: no compatible scheduler of that name.
    """
    own = pipe.scheduler
    kind = find_scheduler(pipe, name)
    if kind is not type(own):
        pipe.scheduler = kind.from_config(own.config)
    try:
        yield
    finally:
        pipe.scheduler = own
