"""Where the tokens of learned embeddings stand in a text, and whether they fit. Needs no torch."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from diffusion_lens.errors import InputError, PromptError

__all__ = ["check_cleaned", "check_room", "describe_unused", "is_word", "token_pattern", "tokens_in"]


def is_word(token: str) -> bool:
    """Whether a token begins and ends like a word, so that it could stand inside of another one."""
    return bool(re.match(r"\w", token) and re.search(r"\w$", token))


def token_pattern(tokens: Collection[str]) -> re.Pattern[str] | None:
    """Matches any of some tokens as a tokenizer does; None where there is none.

    Of tokens that begin alike the longest is matched, and letters or digits at the end of a token are
    matched only where the word ends: `sks` is not in "desks".
    """
    if not tokens:
        return None
    listed = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(_bounded(token) for token in listed))


def tokens_in(text: str, tokens: Collection[str]) -> set[str]:
    """Those of some tokens that a text holds."""
    pattern = token_pattern(tokens)
    return set() if pattern is None else {match.group() for match in pattern.finditer(text)}


def describe_unused(tokens: Collection[str], texts: Iterable[str]) -> str | None:
    """A sentence on the tokens that no text holds, with what looks like one of them; None if all are there.

    Args:
        tokens: the tokens of learned embeddings.
        texts: prompts and negative prompts.
    """
    listed = list(texts)
    held = {token for text in listed for token in tokens_in(text, tokens)}
    missing = sorted(set(tokens) - held)
    if not missing:
        return None
    told = []
    for token in missing:
        alike = re.compile(_bounded(token.strip("<>")), re.IGNORECASE)
        found = next((match.group() for text in listed for match in alike.finditer(text)), None)
        told.append(f"{token!r} ({found!r} there is plain text)" if found else repr(token))
    return (
        f"No prompt holds {', '.join(told)}: {'these learned words change' if told[1:] else 'it changes'} "
        "nothing. Write a learned word exactly so, or give it as NAME=FILE to write it as NAME."
    )


def check_cleaned(
    prompts: Sequence[str], read: Sequence[Sequence[str]], pieces: Mapping[str, Sequence[str]]
) -> None:
    """Make sure that a pipeline that cleans its prompts left the learned words in them.

    Args:
        prompts: the prompts.
        read: the tokens of each as its encoder read them.
        pieces: of each learned word, the tokens that stand in its place.

    Raises:
        PromptError: a word is in a prompt and was not read.
    """
    for prompt, tokens in zip(prompts, read, strict=True):
        for word in sorted(tokens_in(prompt, pieces)):
            if not set(pieces[word]) & set(tokens):
                raise PromptError(
                    f"The pipeline cleans its prompts and took {word!r} out of {prompt!r}, as it does with "
                    "tags of HTML. Draw with clean_caption=False, or give the embedding as NAME=FILE to "
                    "write it as NAME, without brackets."
                )


def _bounded(token: str) -> str:
    before = r"(?<!\w)" if re.match(r"\w", token) else ""
    after = r"(?!\w)" if re.search(r"\w$", token) else ""
    return f"{before}{re.escape(token)}{after}"


def check_room(token: str, vectors: int, encoder: str, tokenizer: Any) -> None:
    """Make sure that a prompt has room for a learned word.

    Raises:
        InputError: it has more vectors than a prompt of this encoder holds tokens.
    """
    room = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
    if vectors > room:
        raise InputError(
            f"{token} has {vectors} vectors, and a prompt of {encoder} holds {room} tokens. Use "
            "fewer vectors: one or a few are enough."
        )
