"""Noise from the seed alone: whatever else would add noise while drawing is cured, or refused by name.

A pipeline draws its first noise with the generators that it is given. Three more sources are dealt with
here: modules in training mode (dropout) are put into evaluation mode, schedulers that add noise at each
step are handed the generators where the pipeline does not do so, and schedulers that draw noise by other
means are refused.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from diffusion_lens.errors import SamplerError
from diffusion_lens.models.placement import modules_of

__all__ = ["evaluating", "seeded"]

_RANDOM = frozenset(
    (
        torch.bernoulli,
        torch.normal,
        torch.rand,
        torch.rand_like,
        torch.randint,
        torch.randn,
        torch.randn_like,
        torch.Tensor.normal_,
        torch.Tensor.uniform_,
    )
)


@contextmanager
def evaluating(pipe: Any) -> Iterator[None]:
    """Put all modules of a pipeline into evaluation mode while the body runs; each as it was afterwards."""
    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    training = [module for part in parts for module in modules_of(part) if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def seeded(pipe: Any, generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Let all noise of a call of the pipeline in the body come from the generators of its images.

    Args:
        pipe: a live pipeline; it is as it was afterwards.
        generators: one for each image of the batch.

    Raises:
        SamplerError: a scheduler draws noise that no generator decides; its class is named.
    """
    with ExitStack() as stack:
        stack.enter_context(evaluating(pipe))
        for scheduler in pipe.components.values():
            step = getattr(scheduler, "step", None)
            if step is None or isinstance(scheduler, nn.Module):
                continue
            if hasattr(scheduler, "noise_sampler"):
                raise _refusal(scheduler)
            stack.enter_context(_replace_step(scheduler, _SeededStep(scheduler, step, list(generators))))
        yield


@contextmanager
def _replace_step(scheduler: Any, step: Callable[..., Any]) -> Iterator[None]:
    """Let a scheduler step so in the body; a step that was set on it before comes back after."""
    before = vars(scheduler).get("step")
    scheduler.step = step
    try:
        yield
    finally:
        if before is None:
            del scheduler.step
        else:
            scheduler.step = before


class _SeededStep:
    """A scheduler's step with the generators of the images; a copy of the scheduler has one of its own."""

    def __init__(self, scheduler: Any, step: Callable[..., Any], generators: list[torch.Generator]) -> None:
        functools.update_wrapper(self, step)  # pipelines look at the names of its arguments
        self.scheduler, self.step, self.generators = scheduler, step, generators
        self.takes_generator = "generator" in inspect.signature(step).parameters

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.takes_generator and kwargs.get("generator") is None:
            kwargs["generator"] = self.generators
        with _Guard(self.scheduler):
            return self.step(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_SeededStep":
        copied = memo[id(self.scheduler)]  # LTX-2 steps through its sound with a copy of its scheduler
        return _SeededStep(copied, type(copied).step.__get__(copied), self.generators)


class _Guard(TorchFunctionMode):
    """Refuses random numbers that no generator was given for."""

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.scheduler = scheduler

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in _RANDOM and given.get("generator") is None:
            raise _refusal(self.scheduler)
        return func(*args, **given)


def _refusal(scheduler: Any) -> SamplerError:
    return SamplerError(
        f"{type(scheduler).__name__} draws noise of its own, which the seed does not decide and which "
        "depends on the other images of a batch. Choose another scheduler, such as "
        "DPMSolverMultistepScheduler with algorithm_type='sde-dpmsolver++' for noise at each step."
    )
