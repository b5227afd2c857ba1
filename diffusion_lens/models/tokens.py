"""Where the words of a text are among its tokens."""

from collections.abc import Sequence
from typing import Any

from diffusion_lens.errors import PromptError, UnsupportedPipelineError

__all__ = ["find_tokens", "find_words"]


def find_words(tokenizer: Any, text: str) -> list[tuple[str, tuple[int, ...]]]:
    """The words of a text between spaces, each with the positions of its tokens.

    Args:
        tokenizer: a tokenizer of transformers that knows offsets.
        text: the text; it is padded and cut as a pipeline does.

    Raises:
        PromptError: a word was cut off.
        UnsupportedPipelineError: the tokenizer knows no offsets.
    """
    words, spans, end = text.split(), [], 0
    for word in words:
        start = text.index(word, end)
        end = start + len(word)
        spans.append((start, end))
    return list(zip(words, find_tokens(tokenizer, text, spans), strict=True))


def find_tokens(tokenizer: Any, text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The positions of the tokens that cover each span of characters (start, end) of a text.

    Raises:
        PromptError: a span has no token, as when it was cut off.
        UnsupportedPipelineError: the tokenizer knows no offsets.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UnsupportedPipelineError(
            f"{type(tokenizer).__name__} does not say where its tokens are in a text."
        )
    offsets = tokenizer(
        text, padding="max_length", truncation=True, return_offsets_mapping=True
    ).offset_mapping
    found = []
    for start, end in spans:
        covering = (i for i, (first, last) in enumerate(offsets) if first < end and last > start)
        positions = tuple(covering)
        if not positions:
            raise PromptError(f"No token of {text!r} covers {text[start:end]!r}: was it cut off?")
        found.append(positions)
    return found
