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
# with `order`, as many of these stand before a word as words do in its prompt; a token each
_FILLERS = ("it", "is", "that", "and", "of", "the", "to", "with", "in", "a")
_MARKS = ".,:;!?\"'()[]"


@dataclass(frozen=True)
class Contextless(Intervention):
    """Give each word the state that it has on average in sentences that say nothing of the others.

    Start, end and padding tokens still know the whole prompt; `Pads("prompt only")` takes these away.

    Attributes:
        tokens: words of the prompt; "content" for all.
        carriers: in how many sentences each word is read, from 1 to 4.
        order: in its sentences a word has as many words before it as in the prompt, so that its state still
            knows where it stands (word meaning and word order, arXiv 2606.03715).
    """

    tokens: Tokens = "content"
    carriers: int = len(_CARRIERS)
    order: bool = False

    name: ClassVar[str] = "contextless"

    def __post_init__(self) -> None:
        self._set("tokens", write_tokens(self.tokens))
        if type(self.carriers) is not int or not 1 <= self.carriers <= len(_CARRIERS):
            raise InputError(f"carriers of contextless is {self.carriers!r}; it is from 1 to 4.")
        if not isinstance(self.order, bool):
            raise InputError(f"order of contextless is {self.order!r}. Allowed: true, false.")

    def sources(self, prompt: str) -> tuple[str, ...]:
        """See `Intervention`."""
        words = dict.fromkeys(self._words(prompt))
        return tuple(dict.fromkeys(text for word, number in words for text in self._texts(word, number)))

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        wanted = set(context.tokens.select(self.tokens))
        changed = state.clone()
        words = self._words(context.prompt)
        same = [word.casefold() for word, _ in words]
        # longer words last: "ray" stands in "x-ray" too, which has a state of its own
        for place, (word, number) in sorted(enumerate(words), key=lambda one: len(one[1][0])):
            found = context.tokens.groups(f"word:{word}")
            if self.order:  # each place where a word stands has a state of its own
                if len(found) != same.count(same[place]):
                    raise PromptError(
                        f"{self.id} can't tell the word {word!r} of {context.prompt!r} from a part of "
                        "another word. Leave order out, or name other tokens."
                    )
                found = [found[same[:place].count(same[place])]]
            for places in found:
                if wanted & set(places):
                    changed[:, list(places)] = self._mean(word, number, len(places), layer, state, context)
        return changed

    def _words(self, prompt: str) -> list[tuple[str, int]]:
        """The words without marks, each with the number of words before it where that counts, else 0."""
        words = [word.strip(_MARKS) for word in prompt.split()]
        return [
            (word, number if self.order else 0)
            for number, word in enumerate(words)
            if word and ";" not in word
        ]

    def _texts(self, word: str, number: int) -> list[str]:
        """The sentences in which a word is read."""
        if not self.order:
            return [carrier.format(word) for carrier in _CARRIERS[: self.carriers]]
        texts = []
        for carrier in range(self.carriers):
            fillers = [_FILLERS[(3 * carrier + i) % len(_FILLERS)] for i in range(number + 1)]
            texts.append(" ".join([*fillers[:number], word, fillers[number]]))
        return texts

    def _mean(
        self, word: str, number: int, pieces: int, layer: SiteKey, state: torch.Tensor, context: Context
    ) -> torch.Tensor:
        found = []
        for carrier, text in enumerate(self._texts(word, number)):
            places = context.sources[text].tokens.groups(f"word:{word}")[-1]
            start = number if self.order else _CARRIERS[carrier].split().index("{}")
            if word.casefold() in [one for i, one in enumerate(text.split()) if i != start]:
                places = context.sources[text].tokens.prompt.words()[start][1]  # a carrier's own word too
            if len(places) != pieces:
                raise PromptError(
                    f"{self.id} reads {word!r} as {len(places)} tokens in {text!r} and as {pieces} in "
                    f"{context.prompt!r}, so that its states can't be exchanged. Name other tokens."
                )
            found.append(context.source(text, layer, state)[:, list(places)])
        total = found[0].float()  # 16 bits overflow, or round, where states are added up
        for one in found[1:]:
            total = total + one
        return (total / len(found)).to(state.dtype)


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
        words = [list(places) for _, places in context.tokens.words() if places]
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
