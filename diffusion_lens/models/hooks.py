"""Forward hooks as context managers: capture layers, change them, stop early, replace a forward pass.

`capture` reads the input of the first block and the output of each block in one forward pass, and can
stop the pass after the deepest block that is needed. `edit` changes them, and the later blocks
run on from the change. `replace_forward` replaces what a module computes. All remove exactly what they
installed, also after an exception, and leave other hooks as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from diffusion_lens.models.site_keys import SiteKey

__all__ = [
    "Change",
    "Recording",
    "Split",
    "capture",
    "copy_output",
    "edit",
    "find_module",
    "replace_forward",
    "uncompiled",
]


@dataclass
class Recording:
    """What one forward pass of a text encoder showed; filled while the pass runs.

    Attributes:
        states: hidden state by layer, as the module lays it out (0 the input of the first block, i the
            output of block i); or what a part of a block adds, by its key.
        calls: how often the encoder was called.
        input_ids: the token ids that it was given, `[batch, token]`; empty before the pass.
        attention_mask: the mask that it was given, or None.
        output: what it returned; without meaning where the pass was stopped early.
    """

    states: dict[SiteKey, torch.Tensor] = field(default_factory=dict)
    calls: int = 0
    input_ids: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0))
    attention_mask: torch.Tensor | None = None
    output: Any = None


def copy_output(output: Any) -> Any:
    """An encoder's output with tensors of its own; Kandinsky 3 writes zeros into the one it was given."""
    if not isinstance(output, ModelOutput):
        return output
    copied = {
        name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in output.items()
    }
    return type(output)(**copied)


@contextmanager
def uncompiled(module: nn.Module) -> Iterator[None]:
    """Run a module, and those inside, as they are written while the body runs, where compiled in place."""
    compiled = [(one, one._compiled_call_impl) for one in module.modules() if one._compiled_call_impl]
    for one, _ in compiled:
        one._compiled_call_impl = None
    try:
        yield
    finally:
        for one, call in compiled:
            one._compiled_call_impl = call


Change = Callable[[torch.Tensor, int, Recording], torch.Tensor]
"""From a state as the module lays it out, its layer, and what is known of the pass, to another state."""


Split = Callable[[nn.Module, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""From a module, its input and its output to two summands of the output."""


class _Stop(Exception):
    """Ends a forward pass whose remaining blocks nobody needs."""


def find_module(root: nn.Module, path: str) -> nn.Module | None:
    """The module at a dotted path below `root`, or None where there is none."""
    try:
        return root.get_submodule(path)
    except AttributeError:
        return None


@contextmanager
def capture(
    encoder: nn.Module, blocks: Sequence[nn.Module], layers: Sequence[int], *, stop: bool = False
) -> Iterator[Recording]:
    """Read the states of `layers` while the body runs the encoder once.

    Args:
        encoder: the whole text encoder; its inputs and output are read too.
        blocks: its transformer blocks, first to last.
        layers: the layers to keep, each in `0..len(blocks)`.
        stop: end the pass after the deepest of `layers`; the encoder then returns that state in place
            of every other, for a caller that does not look.

    Yields:
        A `Recording` that fills as the encoder runs.
    """
    recording = Recording()
    deepest = max(layers)
    wanted = frozenset(layers)

    def keep(layer: int, output: Any) -> None:
        state = output[0] if isinstance(output, tuple) else output
        if layer in wanted:
            recording.states[layer] = state.detach()
        if stop and layer == deepest:
            raise _Stop(state)

    def on_call(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recording.calls += 1
        ids: Any = kwargs.get("input_ids", args[0] if args else None)
        recording.input_ids = ids
        recording.attention_mask = kwargs.get("attention_mask")

    def on_return(_module: nn.Module, _args: Any, output: Any) -> None:
        recording.output = copy_output(output)

    def on_first_block(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(0, args[0] if args else kwargs["hidden_states"])

    def on_block(layer: int) -> Callable[..., None]:
        return lambda _module, _args, output: keep(layer, output)

    forward = encoder.forward

    def stopping(*args: Any, **kwargs: Any) -> Any:
        try:
            return forward(*args, **kwargs)
        except _Stop as reached:
            (state,) = reached.args
            return BaseModelOutput(state, hidden_states=(state,) * (len(blocks) + 1))

    with ExitStack() as stack:

        def hook(handle: RemovableHandle) -> None:
            stack.callback(handle.remove)

        hook(encoder.register_forward_pre_hook(on_call, with_kwargs=True))
        hook(encoder.register_forward_hook(on_return))
        hook(blocks[0].register_forward_pre_hook(on_first_block, with_kwargs=True))
        for layer, block in enumerate(blocks, start=1):
            hook(block.register_forward_hook(on_block(layer)))
        if stop:
            stack.enter_context(replace_forward(encoder, stopping))
        yield recording


@contextmanager
def edit(
    encoder: nn.Module,
    blocks: Sequence[nn.Module],
    change: Change,
    *,
    first: bool = True,
    of: Split | None = None,
) -> Iterator[Recording]:
    """Change the states of all layers while the body runs the encoder; later blocks run on from them.

    A `capture` inside of the body reads the changed states.

    Args:
        encoder: the whole text encoder, whose inputs `change` is told.
        blocks: its transformer blocks, first to last, or a part of each.
        change: what is done to the output of block i (layer i).
        first: do it to the input of the first block (layer 0) too.
        of: what of the output is changed, and what it is added to; the whole output if None.

    Yields:
        A `Recording` of the encoder's inputs.
    """
    recording = Recording()

    def on_call(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recording.calls += 1
        ids: Any = kwargs.get("input_ids", args[0] if args else None)
        recording.input_ids = ids
        recording.attention_mask = kwargs.get("attention_mask")

    def on_first_block(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (change(args[0], 0, recording), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"], 0, recording)}

    def on_block(layer: int) -> Callable[..., Any]:
        def changed(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            state = output[0] if isinstance(output, tuple) else output
            if of is None:
                state = change(state, layer, recording)
            else:
                own, rest = of(module, args[0] if args else kwargs["hidden_states"], state)
                new = change(own, layer, recording)
                # what was not changed stays exactly the output, which the sum would not be
                state = torch.where(new == own, state, rest + new)
            return (state, *output[1:]) if isinstance(output, tuple) else state

        return changed

    with ExitStack() as stack:
        handles = [
            encoder.register_forward_pre_hook(on_call, with_kwargs=True),
            *(
                block.register_forward_hook(on_block(layer), with_kwargs=True)
                for layer, block in enumerate(blocks, 1)
            ),
        ]
        if first:
            handles.append(blocks[0].register_forward_pre_hook(on_first_block, with_kwargs=True))
        for handle in handles:
            stack.callback(handle.remove)
        yield recording


@contextmanager
def replace_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Call `forward(*args, **kwargs)` in place of the module's own forward pass while the body runs.

    A forward that was set on the instance before (as accelerate's offloading does) comes back after.
    """
    missing = object()
    before = module.__dict__.get("forward", missing)
    module.forward = forward
    try:
        yield
    finally:
        if before is missing:
            del module.forward
        else:
            module.forward = before
