"""Tokens of prompts: the tokenizer of an encoder, and which tokens stand for which words.

Pipelines put special tokens, pads and whole chat templates around a prompt, and some change its case or
accents first. So a prompt is looked for among the tokens that its encoder really read: first as the
tokenizer writes the prompt alone, and where that is not to be found, by the letters of the tokens.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from diffusion_lens.errors import PromptError
from diffusion_lens.models.pipelines import Slot

__all__ = ["PromptTokens", "align_prompt", "find_tokenizer"]

_QUOTED = (r"'([^']*)'", r"\u201c([^\u201c\u201d]*)\u201d", r'"([^"]*)"', r"「([^「」]*)」")
_BEFORE_ROLE = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>")  # Qwen, Llama 3, Gemma
_UNDECODED = "\N{REPLACEMENT CHARACTER}"  # a token that is a part of a character


def find_tokenizer(pipe: Any, slot: Slot) -> Any:
    """The tokenizer of a pipeline's encoder; a processor holds it inside."""
    found = getattr(pipe, slot.tokenizer)
    return found if hasattr(found, "convert_ids_to_tokens") else found.tokenizer


@dataclass(frozen=True)
class PromptTokens:
    """Which characters of a prompt each token of its encoder stands for.

    Attributes:
        prompt: the prompt.
        spans: for each token position, the characters `(start, end)` of the prompt that the token stands
            for; None for special tokens, pads and the words of a template.
        quoted: the encoder reads no more of the prompt than one quotation.
    """

    prompt: str
    spans: tuple[tuple[int, int] | None, ...]
    quoted: bool = False

    @property
    def content(self) -> tuple[int, ...]:
        """The positions of all tokens of the prompt."""
        return tuple(i for i, span in enumerate(self.spans) if span is not None)

    @property
    def end(self) -> int:
        """The character of the prompt at which reading stopped; its length if nothing was cut off."""
        return max((span[1] for span in self.spans if span is not None), default=0)

    def covering(self, start: int, end: int) -> tuple[int, ...]:
        """The positions of the tokens that stand for any of the characters from `start` to `end`."""
        return tuple(i for i, span in enumerate(self.spans) if span and span[0] < end and span[1] > start)

    def words(self) -> list[tuple[str, tuple[int, ...]]]:
        """The words of the prompt between spaces, each with its token positions; none if it was cut off."""
        found = re.finditer(r"\S+", self.prompt)
        return [(match.group(), self.covering(*match.span())) for match in found]

    def cut_words(self, written: str | None = None, expand: Callable[[str], str] = str) -> list[str]:
        """The words that the encoder did not read, or not to their end.

        Args:
            written: the prompt as its user wrote it, whose words are meant; the prompt itself if None.
            expand: makes the prompt of it, with learned words as the tokenizer sees them.
        """
        if not self.content or self.quoted:
            return []  # a rewritten prompt: what was read of it is not known; a quoted text is read whole
        text = self.prompt if written is None else written
        words = list(re.finditer(r"\S+", text))
        read = bisect_right(words, self.end, key=lambda word: len(expand(text[: word.end()])))
        return [word.group() for word in words[read:]]

    def find(self, phrase: str) -> tuple[tuple[int, ...], ...]:
        """The token positions of each place where a word or several stand in the prompt.

        Whole words count, in any letter case: "fox" is not found in "foxes".

        Raises:
            PromptError: the phrase is not in the prompt, was cut off, or can't be told from other tokens.
        """
        pattern = re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)", re.IGNORECASE)
        matches = list(pattern.finditer(self.prompt)) if phrase.strip() else []
        if not matches:
            words = ", ".join(repr(word) for word in self.prompt.split()) or "no word"
            raise PromptError(f"The prompt {self.prompt!r} does not hold {phrase!r}. It holds: {words}.")
        return self.read_as([match.span() for match in matches], repr(phrase))

    def read_as(self, spans: Sequence[tuple[int, int]], name: str) -> tuple[tuple[int, ...], ...]:
        """The token positions of parts of the prompt.

        Args:
            spans: the characters `(start, end)` of each part, in order; at least one.
            name: what the parts are called, for messages.

        Raises:
            PromptError: a part was cut off, or can't be told from other tokens.
        """
        if not self.content:
            raise PromptError(
                f"The prompt {self.prompt!r} was rewritten before it was read, or is not read here, so "
                f"that the tokens of {name} are not known. Give the token positions themselves."
            )
        if spans[-1][1] > self.end and not self.quoted:
            raise PromptError(
                f"{name} stands where the encoder no longer reads the prompt {self.prompt!r}: it was "
                "cut off. Use a shorter prompt."
            )
        found = tuple(self.covering(*span) for span in spans)
        if not all(found):
            raise PromptError(
                f"The encoder reads a part of the prompt {self.prompt!r}, and {name} is not in it."
            )
        return found


def align_prompt(tokenizer: Any, prompt: str, ids: Sequence[int]) -> PromptTokens:
    """Find a prompt among the tokens that an encoder read.

    Args:
        tokenizer: the encoder's tokenizer, fast or slow.
        prompt: the prompt, with learned words as the tokenizer sees them.
        ids: the token ids that the encoder read, with all that the pipeline put around the prompt.

    Returns:
        The characters by token; no token has any if the pipeline rewrote the prompt beyond recognition.
    """
    bare = list(ids)
    while bare and bare[-1] == tokenizer.pad_token_id:
        bare.pop()
    whole = _align_ids(tokenizer, prompt, bare) or _align_letters(tokenizer, prompt, bare)
    found = whole or _align_quoted(tokenizer, prompt, bare)
    spans = tuple(found.get(position) for position in range(len(ids)))
    return PromptTokens(prompt, spans, quoted=bool(found) and not whole)


def _align_ids(tokenizer: Any, prompt: str, ids: list[int]) -> dict[int, tuple[int, int]]:
    """Spans by position where all tokens of the prompt stand in a row; the last such place counts."""
    if not getattr(tokenizer, "is_fast", False) or not ids:
        return {}
    written = tokenizer(
        prompt,
        add_special_tokens=False,
        truncation=True,
        max_length=len(ids) + 1,
        return_offsets_mapping=True,
    )
    own = list(written.input_ids)
    for first in reversed(range(len(ids) - len(own) + 1)):
        if ids[first : first + len(own)] == own and not _is_role(tokenizer, ids, first):
            return {first + i: (start, end) for i, (start, end) in enumerate(written.offset_mapping)}
    return {}


def _align_letters(tokenizer: Any, prompt: str, ids: list[int]) -> dict[int, tuple[int, int]]:
    """Spans by position, by the letters that tokens stand for; the end of the prompt may be cut off."""
    pieces = _pieces(tokenizer, ids)
    for marks in (True, False):
        stream = _stream(pieces, marks)
        read = "".join(letter for letter, _ in stream)
        # a prompt longer than what was read was cut off: its rest need not be looked at
        own = list(islice(_letters(prompt, marks), len(read) + 1))
        text = "".join(letter for letter, _ in own)
        first = read.rfind(text) if text else -1
        while first >= 0 and _is_role(tokenizer, ids, stream[first][1][0]):
            first = read.rfind(text, 0, first + len(text) - 1)
        if first < 0 and not marks:
            first = _cut_start(read, text)
        if first >= 0:
            return _spans(stream[first : first + len(own)], own)
    return {}


def _is_role(tokenizer: Any, ids: list[int], place: int) -> bool:
    """Whether a token of a chat template names who speaks: "assistant" stands after each prompt too."""
    return place > 0 and tokenizer.convert_ids_to_tokens(ids[place - 1]) in _BEFORE_ROLE


def _align_quoted(tokenizer: Any, prompt: str, ids: list[int]) -> dict[int, tuple[int, int]]:
    """Spans by position where only a quotation of the prompt was read, as GLM-Image does."""
    stream = _stream(_pieces(tokenizer, ids), marks=False)
    read = "".join(letter for letter, _ in stream)
    for match in (one for pattern in _QUOTED for one in re.finditer(pattern, prompt) if read):
        own = [(letter, match.start(1) + place) for letter, place in _letters(match[1], marks=False)]
        if "".join(letter for letter, _ in own).startswith(read):
            return _spans(stream, own)
    return {}


def _stream(
    pieces: Sequence[tuple[str, tuple[int, ...]]], marks: bool
) -> list[tuple[str, tuple[int, ...]]]:
    """The letters of all tokens, each with the positions of its token."""
    return [(letter, place) for text, place in pieces for letter, _ in _letters(text, marks)]


def _cut_start(read: str, text: str) -> int:
    """Where a text begins that runs to the end of what was read and was cut off there; -1 if nowhere.

    A few letters may be equal by chance, so that at least 8 must be.
    """
    enough = range(len(read) - min(len(read), 8) + 1) if read else range(0)
    return next((first for first in enough if text.startswith(read[first:])), -1)


def _pieces(tokenizer: Any, ids: list[int]) -> list[tuple[str, tuple[int, ...]]]:
    """The text of each token, with its position; tokens that share a character stand together."""
    special = set(tokenizer.all_special_ids)
    pieces: list[tuple[str, tuple[int, ...]]] = []
    group: tuple[int, ...] = ()
    for position, token in enumerate(ids):
        if token in special:
            group = ()
            continue
        group = (*group, position)
        text = tokenizer.decode([ids[i] for i in group])
        if _UNDECODED in text and len(group) < 4:  # UTF-8 has at most 4 bytes a character
            continue
        # a copy of CLIP's tokenizer, which learned words need, leaves the mark of a word's end in
        pieces.append((text.removeprefix("##").removesuffix("</w>"), group))
        group = ()
    return pieces


def _letters(text: str, marks: bool) -> Iterator[tuple[str, int]]:
    """The letters of a text with their places, without case and accents, and without marks if asked."""
    for place, character in enumerate(text):
        for letter in unicodedata.normalize("NFKD", character).casefold():
            if letter.isalnum() or (marks and not letter.isspace() and not unicodedata.combining(letter)):
                yield letter, place


def _spans(
    stream: Sequence[tuple[str, tuple[int, ...]]], own: Sequence[tuple[str, int]]
) -> dict[int, tuple[int, int]]:
    """The characters of each token, from letters that stand side by side."""
    spans: dict[int, tuple[int, int]] = {}
    for (_, positions), (_, place) in zip(stream, own, strict=False):
        for position in positions:
            start, end = spans.get(position, (place, place + 1))
            spans[position] = (min(start, place), max(end, place + 1))
    return spans
