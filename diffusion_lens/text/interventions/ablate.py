"""Take a part of the encoder out: attention, one of its heads, the feed-forward part, a block's output."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.files import read_text, why_unreadable
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.interventions.base import Context, Intervention, check_choice
from diffusion_lens.text.interventions.layers import LayerSet, check_layers, holds_layer, write_layers
from diffusion_lens.text.interventions.tokens import Tokens, write_tokens
from diffusion_lens.text.sites import Site

if TYPE_CHECKING:
    import torch

__all__ = ["Ablate", "AblateBy", "Skip"]

AblateBy = Literal["zero", "mean", "resample"]
"""What stands in for what is taken out: "zero"; "mean", the mean over a set of prompts at the same token
position; "resample", what one prompt of the set has there, drawn by a seed (Chan et al., 2022, "Causal
scrubbing")."""

_BY = ("zero", "mean", "resample")


@dataclass(frozen=True)
class Ablate(Intervention):
    """Replace what a site gives to some tokens, in the encoder; the later blocks run on from it.

    Attributes:
        site: `6.attn`, `6.mlp` or `6.head.3`, what that part of block 6 adds; `6`, the hidden state after
            it.
        tokens: the tokens; see `diffusion_lens.text.interventions.tokens`.
        by: what stands in; see `AblateBy`.
        prompts: the set of prompts of "mean" and "resample": a list, written with semicolons, or a file
            that ends in .txt with one prompt a line, which is read when the intervention is made.
        seed: which prompt "resample" draws.
    """

    site: str | int | Site
    tokens: Tokens = "all"
    by: AblateBy = "zero"
    prompts: str | Sequence[str] = ""
    seed: int = 0

    name: ClassVar[str] = "ablate"
    files: ClassVar[Mapping[str, str]] = {"prompts": ".txt"}

    def __post_init__(self) -> None:
        site = self.site if isinstance(self.site, Site) else Site.parse(str(self.site))
        if site.layer is None or site.layer < 0 or site.added:
            raise LayerError(
                f"ablate can't take {site} out. Name a layer from 0 on, or a part of one: 6, 6.attn, "
                "6.mlp, 6.head.3."
            )
        self._set("site", site.id)
        self._set("tokens", write_tokens(self.tokens))
        self._set("prompts", _write_prompts(self.prompts))
        check_choice(self.name, "by", self.by, _BY)
        if type(self.seed) is not int:
            raise InputError(f"seed of ablate is {self.seed!r}; it is a whole number.")
        if (self.by == "zero") != (not self.prompts):
            raise InputError(
                f"ablate by {self.by} takes {'no' if self.by == 'zero' else 'a set of'} prompts. Write "
                "ablate(6.attn), or ablate(6.attn, by=mean, prompts=a dog; a red car)."
            )

    @property
    def in_encoder(self) -> bool:
        """See `Intervention`."""
        return True

    @property
    def part(self) -> str:
        """See `Intervention`."""
        return self._site.part

    @property
    def reads_parts(self) -> tuple[str, ...]:
        """See `Intervention`."""
        return (self._site.id,) if self.part and self.prompts else ()

    @property
    def _site(self) -> Site:
        return Site.parse(str(self.site))

    @property
    def _listed(self) -> tuple[str, ...]:
        listed = tuple(str(self.prompts).split("; ")) if self.prompts else ()
        if self.by == "resample":
            return (random.Random(self.seed).choice(listed),)
        return listed

    def sources(self, prompt: str) -> tuple[str, ...]:
        """See `Intervention`."""
        return self._listed

    def check_depth(self, encoder: str, depth: int) -> None:
        """See `Intervention`."""
        check_layers(self.id, str(self._site.layer), encoder, depth)

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        index = context.tokens.select(self.tokens)
        if layer != self._site.layer:
            return state
        changed = state.clone()
        if self.by == "zero":
            changed[:, index] = 0
        else:
            for place in index:
                changed[:, place] = self._stand_in(place, state, context)
        return changed

    def _stand_in(self, place: int, state: torch.Tensor, context: Context) -> torch.Tensor:
        """What stands in at a token position, `[1, width]`."""
        key: SiteKey = self._site.id if self.part else self._site.layer or 0
        found = [context.source(prompt, key, state) for prompt in self._listed]
        long = [one[:, place] for one in found if one.shape[1] > place]
        if not long:
            raise InputError(
                f"{self.id} finds no prompt of the set with a token #{place}, which {context.prompt!r} "
                "has. Give longer prompts, or name other tokens."
            )
        total = long[0]
        for one in long[1:]:
            total = total + one
        return total / len(long)


def _write_prompts(given: str | Sequence[str]) -> str:
    """A set of prompts as its one written form.

    Raises:
        InputError: a file can't be read, or a prompt can't be written in a set.
    """
    if Ablate.names_file("prompts", given):
        try:
            listed = read_text(str(given).strip()).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"The prompts of ablate can't be read from {given}: {why_unreadable(error)}."
            ) from error
    else:
        listed = given.split(";") if isinstance(given, str) else list(given)
    written = [one.strip() for one in listed if one.strip()]
    if any(";" in one for one in written):
        raise InputError("A prompt of ablate holds a semicolon, which separates the prompts of its set.")
    joined = "; ".join(written)
    if Ablate.names_file("prompts", joined):  # it would be read back as one
        raise InputError(f"The last prompt of ablate, {written[-1]!r}, ends as the name of a file does.")
    return joined


@dataclass(frozen=True)
class Skip(Intervention):
    """Let blocks add nothing: each gives on what it was given.

    Attributes:
        layers: the layers whose blocks are skipped, from 1 on.
        tokens: the tokens for which they are; see `diffusion_lens.text.interventions.tokens`.
    """

    layers: LayerSet
    tokens: Tokens = "all"

    name: ClassVar[str] = "skip"
    part: ClassVar[str] = "block"

    def __post_init__(self) -> None:
        self._set("layers", write_layers(self.layers))
        self._set("tokens", write_tokens(self.tokens))
        if not self.layers or holds_layer(str(self.layers), 0):
            raise LayerError("skip names the layers of blocks, from 1 on; layer 0 is the embedding.")

    @property
    def in_encoder(self) -> bool:
        """See `Intervention`."""
        return True

    def check_depth(self, encoder: str, depth: int) -> None:
        """See `Intervention`."""
        check_layers(self.id, str(self.layers), encoder, depth)

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`; the state is what the block adds."""
        index = context.tokens.select(self.tokens)
        if not holds_layer(str(self.layers), layer):
            return state
        changed = state.clone()
        changed[:, index] = 0
        return changed
