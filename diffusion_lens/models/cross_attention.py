"""Where a denoiser reads text: its cross-attention layers, by name."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diffusion_lens.errors import UnsupportedPipelineError
from diffusion_lens.models.denoisers import find_denoiser

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_blocks", "find_cross_attention"]


def find_cross_attention(pipe: Any, blocks: Sequence[str] = ()) -> "dict[str, nn.Module]":
    """The cross-attention layers of a pipeline's denoiser, in its own order.

    Args:
        pipe: the pipeline.
        blocks: only those whose names are, or begin with, one of these; all if empty.
    """
    from diffusers.models.attention_processor import Attention

    denoiser = find_denoiser(pipe)
    denoiser = getattr(denoiser, "_orig_mod", denoiser)
    return {
        name: module
        for name, module in denoiser.named_modules()
        if isinstance(module, Attention)
        and module.is_cross_attention
        and (not blocks or any(f"{name}.".startswith(f"{block}.") for block in blocks))
    }


def check_blocks(pipe: Any, blocks: Sequence[str]) -> None:
    """Refuse blocks in which nothing but text is read.

    Raises:
        UnsupportedPipelineError: the denoiser has no cross-attention, or none in one of these blocks.
    """
    found = list(find_cross_attention(pipe)) if blocks else []
    name = type(find_denoiser(pipe)).__name__ if blocks else ""
    if blocks and not found:
        raise UnsupportedPipelineError(
            f"{name} has no cross-attention that could be told from the rest of a block: text and image "
            "are mixed in one attention, or in one of its own kind. Limit it to steps, as in only(0:9)."
        )
    for block in blocks:
        if not any(f"{one}.".startswith(f"{block}.") for one in found):
            tops = dict.fromkeys(one.split(".attentions")[0].split(".attn")[0] for one in found)
            raise UnsupportedPipelineError(
                f"{name} has no cross-attention in {block!r}. It has some in: {', '.join(tops)}."
            )
