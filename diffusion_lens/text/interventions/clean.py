"""What stands in the place of tokens that are taken away: the empty prompt, its pads, or the mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from diffusion_lens.errors import InputError

if TYPE_CHECKING:
    import torch

    from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.interventions.base import Context

__all__ = ["RESTS", "Rest", "clear", "rest_sources"]

Rest = Literal["empty", "pads", "mean"]
"""What stands in for a token: "empty", the state at the same position of the empty prompt; "pads", the
state of a pad of the empty prompt (Toker et al., 2025, "Padding Tone"), at the same position where there is
one; "mean", the mean of the states of all of the prompt's own tokens at that layer."""

RESTS = ("empty", "pads", "mean")


def rest_sources(rest: Rest) -> tuple[str, ...]:
    """The further prompts that a stand-in comes from."""
    return () if rest == "mean" else ("",)


def clear(
    state: torch.Tensor, layer: SiteKey, positions: Sequence[int], rest: Rest, context: Context, change: str
) -> torch.Tensor:
    """A state `[1, token, width]` whose tokens at `positions` are taken away.

    Args:
        state: the state; it is left as it is.
        layer: its layer.
        positions: the tokens to take away.
        rest: what stands in for them.
        context: what is known of the prompt.
        change: the intervention, as messages call it.

    Raises:
        InputError: the empty prompt is shorter than the prompt, or has no pads.
    """
    if not positions:
        return state
    changed, index = state.clone(), list(positions)
    if rest == "mean":
        changed[:, index] = state[:, list(context.tokens.content())].mean(1, keepdim=True)
        return changed
    empty = context.source("", layer, state)
    if rest == "empty":
        if max(index) >= empty.shape[1]:
            raise InputError(
                f"{change} needs the empty prompt at the length of {context.prompt!r}, and this pipeline "
                "encodes each prompt at its own length. Use rest=mean, or a pipeline that pads prompts."
            )
        changed[:, index] = empty[:, index]
        return changed
    pads = context.sources[""].tokens.pads
    if not pads:
        raise InputError(
            f"{change} needs clean pads, and {context.encoder} reads the empty prompt without any. Use "
            "rest=mean, or a pipeline that pads prompts."
        )
    changed[:, index] = empty[:, [one if one in pads else pads[0] for one in index]]
    return changed
