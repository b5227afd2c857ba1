"""Parts of an encoder's blocks: what attention, one of its heads, or the feed-forward part adds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from diffusion_lens.errors import EncoderError, LayerError
from diffusion_lens.models.hooks import Change, Recording, capture, edit, find_module
from diffusion_lens.models.site_keys import SiteKey, deepest_layer, split_site

if TYPE_CHECKING:
    from torch import nn

    from diffusion_lens.models.encoders import TextEncoder

__all__ = ["capture_sites", "check_part", "count_heads", "edit_states", "find_writers", "split_head"]

_HEAD = "head."


def find_writers(encoder: TextEncoder, part: str) -> list[nn.Module]:
    """The module of each block whose output a part adds to the hidden state.

    Args:
        encoder: the encoder.
        part: "attn" or "mlp"; of a head, "head.3", it is the projection after all heads.

    Raises:
        EncoderError: the encoder's family does not say where the part is.
    """
    kind = "heads" if part.startswith(_HEAD) else part
    path = getattr(encoder.family, kind)
    found = [find_module(block, path) for block in encoder.blocks] if path else []
    if not found or None in found:
        raise EncoderError(
            f"{encoder.name} ({type(encoder.module).__name__}) has no {kind} that can be told from the "
            f"rest of a block (key path: {path or 'none'}). Name the layer itself, such as 6, or describe "
            f"the encoder with EncoderFamily({kind}=...)."
        )
    return [module for module in found if module is not None]


def count_heads(encoder: TextEncoder) -> int:
    """The number of attention heads of each block."""
    config: Any = encoder.module.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(text.num_attention_heads)


def check_part(encoder: TextEncoder, part: str) -> None:
    """Refuse a part that an encoder lacks.

    Raises:
        EncoderError: it can't be told from the rest of a block.
        LayerError: there is no head of this number.
    """
    if part in ("", "block"):
        return
    find_writers(encoder, part)
    if part.startswith(_HEAD):
        heads = count_heads(encoder)
        if int(part.removeprefix(_HEAD)) >= heads:
            raise LayerError(
                f"{encoder.name} has no {part}: each block has {heads} heads, head.0 to head.{heads - 1}."
            )


def split_head(projection: nn.Module, heads: torch.Tensor, head: int, count: int) -> torch.Tensor:
    """What one head adds to the hidden state: the projection of its own values, without the bias.

    The projection's own `forward` is called, so that weights that are quantized or offloaded are met.

    Args:
        projection: the linear layer after all heads.
        heads: what it is given, the values of all heads side by side, `[..., count * width of a head]`.
        head: which head, from 0.
        count: how many there are.
    """
    width = heads.shape[-1] // count
    own = slice(head * width, (head + 1) * width)
    alone = torch.zeros_like(heads)
    alone[..., own] = heads[..., own]
    added: torch.Tensor = projection.forward(alone)
    if getattr(projection, "bias", None) is not None:
        added = added - projection.forward(torch.zeros_like(heads))
    return added


@contextmanager
def capture_sites(
    encoder: TextEncoder, sites: Sequence[SiteKey], *, stop: bool = False
) -> Iterator[Recording]:
    """Read layers and parts of blocks while the body runs the encoder once; see `hooks.capture`.

    Args:
        encoder: the encoder.
        sites: what to keep.
        stop: end the pass after the deepest block that is needed.

    Yields:
        A `Recording` whose states are, after the body, those of `sites`.

    Raises:
        EncoderError: the encoder's family does not say where a part is.
    """
    written = {key: split_site(key) for key in sites}
    # a part is seen before the block that it is in ends, which is where a pass may be stopped
    layers = {one.layer for one in written.values() if not one.part}
    layers |= {one.base for one in written.values() if one.base is not None}
    layers.add(max(map(deepest_layer, sites)))
    with ExitStack() as stack:
        added: dict[tuple[int, str], torch.Tensor] = {}
        for _, layer, part in dict.fromkeys(one for one in written.values() if one.part):
            stack.enter_context(_capture_part(encoder, layer, part, added))
        recording = stack.enter_context(capture(encoder.module, encoder.blocks, sorted(layers), stop=stop))
        yield recording
    if not layers <= recording.states.keys():  # whoever asked says so
        return
    kept: dict[SiteKey, torch.Tensor] = {}
    for key, (base, layer, part) in written.items():
        state = added[layer, part] if part else recording.states[layer]
        kept[key] = state if base is None else recording.states[base] + state
    recording.states = kept


@contextmanager
def _capture_part(
    encoder: TextEncoder, layer: int, part: str, added: dict[tuple[int, str], torch.Tensor]
) -> Iterator[None]:
    writer = find_writers(encoder, part)[layer - 1]

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        state = output[0] if isinstance(output, tuple) else output
        if part.startswith(_HEAD):
            head = int(part.removeprefix(_HEAD))
            state = split_head(module, args[0], head, count_heads(encoder))
        added[layer, part] = state.detach()

    handle = writer.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def edit_states(encoder: TextEncoder, change: Change, part: str = "") -> AbstractContextManager[Recording]:
    """Change states `[batch, token, width]` while the body runs the encoder; see `hooks.edit`.

    Args:
        encoder: the encoder.
        change: what is done to them.
        part: "" for the states of all layers; "block", "attn", "mlp" or "head.3" for what each block, or
            that part of it, adds to the state.

    Raises:
        EncoderError: the encoder's family does not say where the part is.
        LayerError: there is no head of this number.
    """

    def laid_out(state: torch.Tensor, layer: int, recording: Recording) -> torch.Tensor:
        given = encoder.batch_first(state)
        changed = change(given, layer, recording)
        return state if changed is given else encoder.batch_first(changed)

    if part:
        return _edit_part(encoder, laid_out, part)
    return edit(encoder.module, encoder.blocks, laid_out)


@contextmanager
def _edit_part(encoder: TextEncoder, change: Change, part: str) -> Iterator[Recording]:
    check_part(encoder, part)
    if part == "block":
        editing = edit(encoder.module, encoder.blocks, change, first=False, of=_added)
    elif part.startswith(_HEAD):
        head, count = int(part.removeprefix(_HEAD)), count_heads(encoder)

        def of_head(
            module: nn.Module, given: torch.Tensor, output: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            own = split_head(module, given, head, count)
            return own, output - own

        editing = edit(encoder.module, find_writers(encoder, part), change, first=False, of=of_head)
    else:
        editing = edit(encoder.module, find_writers(encoder, part), change, first=False)
    with editing as recording:
        yield recording


def _added(
    _block: nn.Module, given: torch.Tensor, output: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a block adds, and what it adds it to."""
    return output - given, given
