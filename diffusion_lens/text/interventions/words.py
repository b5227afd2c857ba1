"""Take a word's context, or the order of the words, away: what does the denoiser use of them?"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffusion_lens.errors import InputError, PromptError
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.interventions.base import Context, Intervention
from diffusion_lens.text.interventions.tokens import Tokens, write_tokens

if TYPE_CHECKING:
    import torch

__all__ = ["Contextless", "Shuffle"]

# no carrier begins with the word, which many tokenizers read otherwise after a space
_CARRIERS = ("this is {}", "there was {} here", "the word {}", "we looked at {} again")


@dataclass(frozen=True)
class Contextless(Intervention):
    """Give each word the state that it has on average in sentences that say nothing of the others.

    Start, end and padding tokens still know the whole prompt; `Pads("prompt only")` takes these away.

    Attributes:
        tokens: words of the prompt; "content" for all.
        carriers: in how many sentences each word is read, from 1 to 4.
    """

    tokens: Tokens = "content"
    carriers: int = len(_CARRIERS)

    name: ClassVar[str] = "contextless"

    def __post_init__(self) -> None:
        self._set("tokens", write_tokens(self.tokens))
        if type(self.carriers) is not int or not 1 <= self.carriers <= len(_CARRIERS):
            raise InputError(f"carriers of contextless is {self.carriers!r}; it is from 1 to 4.")

    def sources(self, prompt: str) -> tuple[str, ...]:
        """See `Intervention`."""
        words = dict.fromkeys(word.strip(_MARKS) for word in prompt.split())
        return tuple(carrier.format(word) for word in words if word for carrier in self._carriers)

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        wanted = set(context.tokens.select(self.tokens))
        changed = state.clone()
        for word in dict.fromkeys(word.strip(_MARKS) for word in context.prompt.split()):
            for places in context.tokens.groups(f"word:{word}") if word and ";" not in word else ():
                if wanted & set(places):
                    changed[:, list(places)] = self._mean(word, len(places), layer, state, context)
        return changed

    @property
    def _carriers(self) -> tuple[str, ...]:
        return _CARRIERS[: self.carriers]

    def _mean(
        self, word: str, pieces: int, layer: SiteKey, state: torch.Tensor, context: Context
    ) -> torch.Tensor:
        found = []
        for carrier in self._carriers:
            text = carrier.format(word)
            places = context.sources[text].tokens.groups(f"word:{word}")[-1]
            if word.casefold() in carrier.split():  # the carrier holds the word too
                start = carrier.split().index("{}")
                places = context.sources[text].tokens.prompt.words()[start][1]
            if len(places) != pieces:
                raise PromptError(
                    f"{self.id} reads {word!r} as {len(places)} tokens in {text!r} and as {pieces} in "
                    f"{context.prompt!r}, so that its states can't be exchanged. Name other tokens."
                )
            found.append(context.source(text, layer, state)[:, list(places)])
        total = found[0]
        for one in found[1:]:
            total = total + one
        return total / len(found)


_MARKS = ".,:;!?\"'()[]"


@dataclass(frozen=True)
class Shuffle(Intervention):
    """Exchange the states of the words at random; the pieces of a word stay together.

    Attributes:
        seed: which order; the same one for prompts of as many words.
    """

    seed: int = 0

    name: ClassVar[str] = "shuffle"

    def __post_init__(self) -> None:
        if type(self.seed) is not int:
            raise InputError(f"seed of shuffle is {self.seed!r}; it is a whole number.")

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        content = list(context.tokens.content())
        words = [list(places) for _, places in context.tokens.prompt.words() if places]
        if sorted(i for places in words for i in places) != content:
            raise PromptError(
                f"{self.id} can't tell the words of {context.prompt!r} apart: a token stands for parts of "
                "two of them."
            )
        order = list(range(len(words)))
        draw = random.Random(self.seed)
        while len(order) > 1 and order == sorted(order):
            draw.shuffle(order)
        changed = state.clone()
        changed[:, content] = state[:, [i for number in order for i in words[number]]]
        return changed
