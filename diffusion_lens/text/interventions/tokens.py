"""Which tokens an intervention means: words of the prompt, `pads`, `special`, `last`, or `#3`.

A selection is one text, so that it can be written in a flag or a file: parts with a semicolon between
them, each of them one of

    fox          a word of the prompt, or several that follow each other; every place where they stand
    content      all tokens of the prompt
    all          all tokens that the encoder reads
    pads         the padding
    special      the other tokens that are not of the prompt: start, end, the words of a template
    last         the last token of the prompt
    #3, #-1      the token at this position, from 0; negative ones count from the end
    word#3       the word at this position of the prompt, words being what spaces part: one place of a word
                 that stands in several
    word:pads    the word "pads" itself

In Python a number is a position, and a list has several parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from diffusion_lens.errors import InputError, PromptError
from diffusion_lens.models.tokens import PromptTokens, align_prompt

__all__ = ["TokenPlaces", "Tokens", "find_places", "write_tokens"]

Tokens = str | int | Sequence[str | int]
"""A selection of tokens; see the module."""

_NAMED = ("all", "content", "last", "pads", "special")
_POSITION = re.compile(r"(word)?#(-?[0-9]{1,6})")


def write_tokens(given: Tokens) -> str:
    """A selection as its one written form.

    Raises:
        InputError: it is empty, or holds something that is no selection.
    """
    parts = given if isinstance(given, (list, tuple)) else [given]
    written = []
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (str, int)):
            raise InputError(f"{part!r} names no tokens. Give a word, a position, or one of {_list()}.")
        written += [f"#{part}"] if isinstance(part, int) else [one.strip() for one in part.split(";")]
    if not written or not all(written):
        raise InputError(f"{given!r} names no tokens. Give a word, a position, or one of {_list()}.")
    return ";".join(written)


def _list() -> str:
    return ", ".join(_NAMED)


@dataclass(frozen=True)
class TokenPlaces:
    """Where the words, pads and special tokens of one prompt are.

    Attributes:
        prompt: which characters of the prompt each token stands for.
        pads: the positions of the padding.
        written: the prompt as its user wrote it.
        expand: how a word of the prompt is written for the tokenizer; a learned embedding has pieces.
    """

    prompt: PromptTokens
    pads: tuple[int, ...]
    written: str
    expand: Callable[[str], str] = str

    def __len__(self) -> int:
        return len(self.prompt.spans)

    def select(self, tokens: Tokens) -> list[int]:
        """The positions of a selection, in order, each once.

        Raises:
            PromptError: the prompt lacks a word or a position, or the word was cut off.
        """
        parts = write_tokens(tokens).split(";")
        return sorted({place for part in parts for group in self._part(part) for place in group})

    def groups(self, tokens: Tokens) -> list[tuple[int, ...]]:
        """The positions of each part of a selection, and of each place where a word stands, by itself.

        Raises:
            PromptError: see `select`.
        """
        return [group for part in write_tokens(tokens).split(";") for group in self._part(part)]

    def words(self) -> list[tuple[str, tuple[int, ...]]]:
        """The words of the prompt as it was written, with their positions.

        A learned word has those of all its pieces; one that was cut off has none.
        """
        found = []
        for word in re.finditer(r"\S+", self.written):
            start, end = self._expanded(word)
            found.append((word.group(), self.prompt.covering(start, end)))
        return found

    def _expanded(self, word: re.Match[str]) -> tuple[int, int]:
        """Where a word stands in what the tokenizer sees; a learned one moves all words after it."""
        start, end = (len(self.expand(self.written[:place])) for place in word.span())
        return start, end

    def content(self) -> tuple[int, ...]:
        """The positions of the prompt's own tokens.

        Raises:
            PromptError: the pipeline rewrote the prompt, so that they are not known.
        """
        if not self.prompt.content and self.prompt.prompt.strip():
            raise PromptError(
                f"The prompt {self.prompt.prompt!r} was rewritten before it was read, so that its tokens "
                "are not known. Name them by position: #1;#2."
            )
        return self.prompt.content

    def _part(self, part: str) -> Sequence[tuple[int, ...]]:
        position = _POSITION.fullmatch(part)
        if position is not None:
            number = int(position[2])
            return self._word(number) if position[1] else [(self._position(number),)]
        if part.startswith("word:"):
            return self.prompt.find(self.expand(part.removeprefix("word:")))
        if part not in _NAMED:
            return self.prompt.find(self.expand(part))
        if re.search(rf"(?<!\w){part}(?!\w)", self.prompt.prompt, re.IGNORECASE):
            raise PromptError(
                f"{part!r} names tokens and is a word of the prompt {self.prompt.prompt!r} too. Write "
                f"word:{part} for the word, or positions such as #1 for the tokens."
            )
        return [self._named(part)]

    def _position(self, number: int) -> int:
        if not -len(self) <= number < len(self):
            raise PromptError(
                f"The prompt {self.prompt.prompt!r} has no token #{number}: it is read as {len(self)} "
                f"tokens, #0 to #{len(self) - 1}."
            )
        return number % len(self)

    def _word(self, number: int) -> Sequence[tuple[int, ...]]:
        words = list(re.finditer(r"\S+", self.written))
        if not -len(words) <= number < len(words):
            listed = ", ".join(f"word#{i} {word.group()!r}" for i, word in enumerate(words)) or "no word"
            raise PromptError(f"The prompt {self.written!r} has no word#{number}. It has: {listed}.")
        word = words[number]
        return self.prompt.read_as([self._expanded(word)], f"word#{number} {word.group()!r}")

    def _named(self, name: str) -> tuple[int, ...]:
        if name == "all":
            return tuple(range(len(self)))
        if name == "pads":
            return self.pads
        content = self.content()
        if name == "special":
            return tuple(i for i in range(len(self)) if i not in (*content, *self.pads))
        if name == "last" and not content:
            raise PromptError("The empty prompt has no last token.")
        return content[-1:] if name == "last" else content


def find_places(
    tokenizer: Any,
    prompt: str,
    ids: Sequence[int],
    mask: Sequence[bool],
    expand: Callable[[str], str] = str,
) -> TokenPlaces:
    """Find the words and the padding of a prompt among the tokens that an encoder read.

    Args:
        tokenizer: the encoder's tokenizer.
        prompt: the prompt, as its user wrote it.
        ids: the token ids that the encoder read.
        mask: its attention mask; what it hides is padding.
        expand: see `TokenPlaces`.
    """
    pad = tokenizer.pad_token_id
    first, last = 0, len(ids)
    while first < last and ids[first] == pad:
        first += 1
    while last > first and ids[last - 1] == pad:
        last -= 1
    if pad is not None and pad == tokenizer.eos_token_id and last < len(ids):
        last += 1  # CLIP pads with the token that also ends the prompt
    pads = tuple(i for i in range(len(ids)) if not first <= i < last or not mask[i])
    return TokenPlaces(align_prompt(tokenizer, expand(prompt), ids), pads, prompt, expand)
