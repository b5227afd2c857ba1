"""`TextSwap`: hand a denoiser another text in some steps, or in some of its cross-attention layers.

What the pipeline makes of the other text is seen by running it up to the first look at text, and no
further. In the real run, whatever is handed the text that it was handed at first gets the other one. So the
negative text, the latents and the times are left alone, however a pipeline batches them.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

from diffusion_lens.errors import SamplerError, UnsupportedPipelineError
from diffusion_lens.models.cross_attention import find_cross_attention
from diffusion_lens.models.denoisers import find_denoiser
from diffusion_lens.text.interventions import Only

__all__ = ["TextSwap"]

_STATES = "encoder_hidden_states"


class _SeenError(Exception):
    """Ends a run whose text was seen."""


class TextSwap:
    """Another text for one run of a pipeline.

    Args:
        pipe: the pipeline.
        only: the steps and blocks that read the other text.

    Attributes:
        step: the step that is under way, from 0; counted by the caller.
    """

    def __init__(self, pipe: Any, only: Only) -> None:
        self.pipe, self.only, self.step = pipe, only, 0
        denoiser = find_denoiser(pipe)
        # by what sees the text: the denoiser as a whole, or its layers of cross-attention
        self._seers = find_cross_attention(pipe) if only.blocks else {"": denoiser}
        self._swapped = find_cross_attention(pipe, only.block_names) if only.blocks else self._seers
        self._inside: Mapping[str, Any] = {}
        self._outside: Mapping[str, Any] | None = None
        self._done: set[int] = set()

    @contextmanager
    def look(self) -> Iterator[None]:
        """Run the pipeline with the other text in the body; it is stopped where the text is seen.

        Raises:
            SamplerError: none of the steps will be made.
            UnsupportedPipelineError: the pipeline shows no text.
        """

        def see(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._inside = self._given(module, args, kwargs)
            raise _SeenError

        with ExitStack() as stack:
            for module in self._seers.values():
                stack.callback(module.register_forward_pre_hook(see, with_kwargs=True).remove)
            with suppress(_SeenError):
                yield
        if not self._inside:
            raise UnsupportedPipelineError(
                f"{self.only} can't be drawn: {type(self.pipe).__name__} did not call its denoiser."
            )
        planned = getattr(self.pipe.scheduler, "timesteps", None)
        if planned is not None:
            self._check_steps(len(planned))

    @contextmanager
    def use(self) -> Iterator[None]:
        """Swap the text while the body runs the pipeline.

        Raises:
            SamplerError: none of the steps was made.
            UnsupportedPipelineError: the pipeline reports no steps, or handed on another text in a later
                one than in the first.
        """
        with ExitStack() as stack:
            for name, module in self._seers.items():
                hook = self._swap if name in self._swapped else self._see
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            yield
        if not self.step:
            raise UnsupportedPipelineError(
                f"{self.only} can't be drawn: {type(self.pipe).__name__} does not report its steps."
            )
        self._check_steps(self.step)
        made = filter(self.only.holds_step, range(self.step))
        left = [step for step in made if step not in self._done]
        if self._texts and left:
            raise UnsupportedPipelineError(
                f"{self.only} can't be drawn: in step {left[0]} {type(self.pipe).__name__} handed its "
                "denoiser another text than in the first step. Leave out what changes it on the way, such "
                "as an approximation."
            )

    def _check_steps(self, count: int) -> None:
        if not any(map(self.only.holds_step, range(count))):
            raise SamplerError(f"{self.only} names no step that is made: there are steps 0 to {count - 1}.")

    @property
    def _texts(self) -> list[str]:
        """The arguments that differ between the two texts."""
        outside = self._outside or {}
        return [name for name, value in self._inside.items() if not _equal(value, outside.get(name))]

    def _see(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._outside is None:
            self._outside = self._given(module, args, kwargs)

    def _swap(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        self._see(module, args, kwargs)
        if not self.only.holds_step(self.step):
            return None
        names, given = _names(module, args), self._given(module, args, kwargs)
        outside = self._outside or {}
        texts = self._texts
        if not texts or not all(_equal(given.get(name), outside.get(name)) for name in texts):
            return None
        self._done.add(self.step)
        new = {name: self._inside[name] for name in texts}
        return (
            tuple(new.get(name, value) for name, value in zip(names, args, strict=True)),
            {name: new.get(name, value) for name, value in kwargs.items()},
        )

    def _given(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        given = {**dict(zip(_names(module, args), args, strict=True)), **kwargs}
        return {_STATES: given.get(_STATES)} if self.only.blocks else given


def _names(module: Any, args: tuple[Any, ...]) -> list[str]:
    """The names of positional arguments."""
    forward = getattr(module, "_orig_mod", module).forward
    named = [
        one.name
        for one in inspect.signature(forward).parameters.values()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    return [*named, *(f"#{number}" for number in range(len(named), len(args)))][: len(args)]


def _equal(one: Any, other: Any) -> bool:
    """Whether two arguments hold the same numbers."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    tensors = isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor)
    return not tensors and (one is other or not isinstance(one, list | tuple | Mapping))
