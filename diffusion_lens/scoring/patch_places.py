"""Where one prompt is patched into another: each token that both are read as, and its role."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from diffusion_lens.errors import InputError
from diffusion_lens.text.interventions.tokens import TokenPlaces, Tokens, write_tokens
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.states import LayerStates

__all__ = ["PatchPlace", "Role", "find_patch_places"]

Role = Literal["start", "before", "changed", "after", "end", "pads", "asked"]
"""What a token is to the words that differ between the two prompts: a special token at the "start" or
"end", a shared token "before" or "after" the first one that is "changed", the "pads", or a selection that
was "asked" for."""


@dataclass(frozen=True)
class PatchPlace:
    """Tokens that are patched together.

    Attributes:
        tokens: the selection, as `Patch` takes it.
        token: how the encoder reads them, "fox" or "blue / red" (clean / corrupted).
        role: see `Role`.
        positions: where they stand.
    """

    tokens: str
    token: str
    role: Role
    positions: tuple[int, ...]


def find_patch_places(
    reader: Reader, clean: LayerStates, corrupted: LayerStates, tokens: Sequence[Tokens] = ()
) -> list[PatchPlace]:
    """The places of one pair of prompts.

    Args:
        reader: the text side of the model.
        clean: the states of the clean prompt, alone.
        corrupted: those of the corrupted one.
        tokens: selections that both prompts have; every token, and the padding together, if left out.

    Raises:
        InputError: one prompt is read as more tokens than the other.
        PromptError: a prompt lacks a selection.
    """
    here, there = reader.places_of(corrupted), reader.places_of(clean)
    if tokens:
        return [_asked(one, here, there) for one in dict.fromkeys(map(write_tokens, tokens))]
    own = [i for i in range(len(here)) if i not in here.pads]
    theirs = [i for i in range(len(there)) if i not in there.pads]
    if own != theirs:
        raise InputError(
            f"{clean.prompts[0]!r} is read as {len(theirs)} tokens and {corrupted.prompts[0]!r} as "
            f"{len(own)}, so that they have no tokens in common places. Give prompts whose words have as "
            "many pieces, or name the tokens that both have."
        )
    ids = [states.input_ids[0].tolist() for states in (clean, corrupted)]
    names = [states.tokens[0] for states in (clean, corrupted)]
    changed = [i for i in own if ids[0][i] != ids[1][i]]
    content = set(here.content())
    places = []
    for i in own:
        one, other = (_readable(each[i]) for each in names)
        if i in changed:
            role: Role = "changed"
        elif i in content:
            role = "before" if changed and i < changed[0] else "after"
        else:
            role = "end" if content and i > min(content) else "start"
        places.append(PatchPlace(f"#{i}", one if one == other else f"{one} / {other}", role, (i,)))
    if here.pads and here.pads == there.pads:
        places.append(PatchPlace("pads", "pads", "pads", here.pads))
    return places


def _asked(written: str, here: TokenPlaces, there: TokenPlaces) -> PatchPlace:
    own, theirs = here.select(written), there.select(written)
    if own != theirs:
        raise InputError(
            f"{written!r} stands at positions {theirs} of {there.prompt.prompt!r} and at {own} of "
            f"{here.prompt.prompt!r}. Give tokens that stand at the same positions of both."
        )
    return PatchPlace(written, written, "asked", tuple(own))


def _readable(token: str) -> str:
    """A token without the marks by which tokenizers show where words begin and end."""
    return (
        token.removesuffix("</w>").lstrip(
            "\N{LOWER ONE EIGHTH BLOCK}\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"
        )
        or token
    )
