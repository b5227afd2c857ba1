"""Learned words: vectors outside the embedding matrix, which a pipeline reads while a `with` lasts.

A word is a token in prompts and, for each text encoder, one or more vectors that stand at its place in
the embedding output. The vocabulary's own matrix is neither grown nor written to: the vectors are put
in where the matrix is looked up, and gradients reach them alone.
"""

import copy
import functools
import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import AddedToken
from torch import Tensor

from diffusion_lens.errors import InputError
from diffusion_lens.models.pipelines import Slot, find_family
from diffusion_lens.models.stages import holders, text_stage
from diffusion_lens.models.stub_encoders import is_stub
from diffusion_lens.models.tokens import find_tokenizer
from diffusion_lens.text.embedding_lookup import pool_at_end, read_words, swapped
from diffusion_lens.text.embedding_tokens import check_room, is_word, token_pattern

__all__ = [
    "Embedding",
    "check_fit",
    "encoder_slots",
    "initial_embedding",
    "use_embeddings",
    "vocabulary_norm",
]


@dataclass(frozen=True)
class Embedding:
    """A word that was learned, or is being learned.

    Attributes:
        token: how it is written in prompts.
        vectors: its vectors by the pipeline's name of the encoder, `[vector, width]`, float32; parameters
            while they are trained.
    """

    token: str
    vectors: Mapping[str, Float[Tensor, "vector width"]]

    @property
    def count(self) -> int:
        """The number of its vectors, the same for every encoder."""
        return len(next(iter(self.vectors.values())))

    @property
    def placeholder_tokens(self) -> tuple[str, ...]:
        """The tokens that the tokenizer sees in its place.

        They are not named as diffusers names those of a word of several vectors, or its pipelines would
        put them in a second time.
        """
        return (self.token,) if self.count == 1 else tuple(f"{self.token}:{i}" for i in range(self.count))

    @property
    def hash(self) -> str:
        """A hash of the token and the vectors: 16 hex digits."""
        digest = hashlib.sha256(self.token.encode())
        for name, rows in sorted(self.vectors.items()):
            digest.update(f"{name} {tuple(rows.shape)}".encode())
            digest.update(rows.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def parameters(self) -> list[Tensor]:
        """The vectors of all encoders."""
        return list(self.vectors.values())


def encoder_slots(pipe: Any) -> dict[str, Slot]:
    """The text encoders that a pipeline has, by its name for them.

    Raises:
        UnsupportedPipelineError: the pipeline is of no known family.
    """
    slots = find_family(type(pipe)).slots
    return {slot.name: slot for slot in slots if getattr(pipe, slot.name, None) is not None}


def vocabulary_norm(pipe: Any, encoder: str) -> float:
    """The mean length of the rows of an encoder's embedding matrix."""
    matrix = getattr(pipe, encoder).get_input_embeddings().weight
    return float(matrix.detach().float().norm(dim=-1).mean())


def initial_embedding(
    pipe: Any, token: str, init: str | None = None, vectors: int = 1, seed: int = 0
) -> Embedding:
    """A word to start from.

    Args:
        pipe: a live pipeline.
        token: how the word is written.
        init: text whose own rows it starts as. Text of more tokens than vectors is averaged in
            consecutive groups; text of fewer is repeated. None: rows drawn at the vocabulary's mean and
            standard deviation.
        vectors: vectors by encoder.
        seed: of the drawn rows.

    Raises:
        InputError: no vector, more than a prompt holds, or an initialiser that a tokenizer doesn't know.
    """
    if vectors < 1:
        raise InputError(f"{token} was asked for with {vectors} vectors; a word has at least 1.")
    rows = {}
    for name, slot in encoder_slots(pipe).items():
        check_room(token, vectors, name, find_tokenizer(pipe, slot))
        matrix = getattr(pipe, name).get_input_embeddings().weight.detach().float().cpu()
        if init is None:
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(vectors, matrix.shape[1], generator=generator)
            rows[name] = matrix.mean(0) + matrix.std(0) * noise
            continue
        own = matrix[_known_ids(find_tokenizer(pipe, slot), init, name)]
        if len(own) >= vectors:
            rows[name] = torch.stack([part.mean(0) for part in own.tensor_split(vectors)])
        else:
            rows[name] = own[torch.arange(vectors) % len(own)].clone()
    return Embedding(token, rows)


def _known_ids(tokenizer: Any, text: str, encoder: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    unknown = tokenizer.unk_token_id
    # CLIP's unknown token is its end of text, which no text has
    if not ids or unknown in ids:
        raise InputError(
            f"The initialiser {text!r} is not in the vocabulary of {encoder}. Give a word that it knows, "
            'such as --init "cat", or leave it out to start from a random vector.'
        )
    return ids


def check_fit(pipe: Any, words: Sequence[Embedding]) -> None:
    """Make sure that a pipeline can read some words together.

    Raises:
        InputError: a token that can't be told from other text, or vectors that don't fit the encoders.
    """
    slots = encoder_slots(pipe)
    tokenizers = {name: find_tokenizer(pipe, slot) for name, slot in slots.items()}
    vocabularies = {name: one.get_vocab() for name, one in tokenizers.items()}  # takes tens of ms
    for word in words:
        if not word.token or re.search(r"\s", word.token):
            raise InputError(f"{word.token!r} is no token: it must be one word, such as <mycat>.")
        if sum(other.token == word.token for other in words) > 1:
            raise InputError(
                f"The token {word.token!r} was given twice. Choose another for one of the two words."
            )
        missing = [name for name in slots if name not in word.vectors]
        if missing:
            raise InputError(
                f"{word.token} has vectors for {', '.join(word.vectors)}, not for {', '.join(missing)}, "
                f"which {type(pipe).__name__} reads too. Use a word that was learned on this kind of model."
            )
        for name, tokenizer in tokenizers.items():
            pieces = tokenizer.tokenize(word.token)
            if word.token in vocabularies[name] or (len(pieces) == 1 and pieces[0] != tokenizer.unk_token):
                raise InputError(
                    f"The token {word.token!r} is in the vocabulary of {name} already. Choose one that no "
                    "text has, such as <mycat>."
                )
            check_room(word.token, word.count, name, tokenizer)
            if is_stub(getattr(pipe, name)):
                continue  # was checked when its states were encoded
            rows, width = word.vectors[name], getattr(pipe, name).get_input_embeddings().weight.shape[1]
            if rows.ndim != 2 or rows.shape[1] != width:
                raise InputError(
                    f"{word.token} has vectors of shape {tuple(rows.shape)} for {name}, which reads "
                    f"vectors of {width}. Use a word that was learned on this kind of model."
                )


@contextmanager
def use_embeddings(
    pipe: Any, words: Sequence[Embedding], copies: dict[str, tuple[Any, Any]] | None = None
) -> Iterator[None]:
    """Let a pipeline, and any lens on it, understand words in prompts while the body runs.

    The words' rows are looked up anew at every call, so that training may change them in between.

    Args:
        pipe: a live pipeline; it is the same afterwards.
        words: words for all of its encoders.
        copies: of each tokenizer, itself and a copy that learns the words; filled in, and used again by the
            next call with the same words: a copy takes longer than to encode a prompt.

    Raises:
        InputError: a word doesn't fit the pipeline; see `check_fit`.
    """
    copies = {} if copies is None else copies
    if not copies:
        check_fit(pipe, words)
    with ExitStack() as stack:
        for name, slot in encoder_slots(pipe).items():
            own = getattr(pipe, slot.tokenizer)
            if name not in copies or copies[name][0] is not own:
                copies[name] = own, copy.deepcopy(own)
            for holder, attribute in holders(pipe, slot.tokenizer):
                stack.enter_context(swapped(holder, attribute, copies[name][1]))
            tokenizer = find_tokenizer(pipe, slot)
            pieces = [piece for word in words for piece in word.placeholder_tokens]
            # the space before belongs to the token, or T5 would read one more piece; and as written
            how = {"lstrip": True, "normalized": False}
            tokenizer.add_tokens([AddedToken(one, single_word=is_word(one), **how) for one in pieces])
            ids = tokenizer.convert_tokens_to_ids(pieces)
            encoder = getattr(pipe, name)
            if not is_stub(encoder):
                read_words(stack, encoder, [word.vectors for word in words], name, ids[0] if ids else 0)
            pool_at_end(stack, encoder, tokenizer)
        stage = text_stage(pipe)
        stack.enter_context(swapped(stage, "encode_prompt", _expanding(stage.encode_prompt, words)))
        yield


def expand(text: str, words: Sequence[Embedding]) -> str:
    """A prompt as the tokenizer should see it: each word's pieces in its place, all in one pass."""
    pieces = {word.token: " ".join(word.placeholder_tokens) for word in words}
    pattern = token_pattern(pieces)
    return text if pattern is None else pattern.sub(lambda match: pieces[match.group()], text)


def _expanding(encode: Any, words: Sequence[Embedding]) -> Any:
    """`encode_prompt` for prompts that hold words."""

    def expanded(value: Any) -> Any:
        if isinstance(value, str):
            return expand(value, words)
        return [expanded(one) for one in value] if isinstance(value, list) else value

    @functools.wraps(encode)
    def encode_expanded(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(encode).bind(*args, **kwargs)
        given = {
            name: expanded(value) if "prompt" in name else value for name, value in bound.arguments.items()
        }
        more = given.pop("kwargs", {})
        return encode(**given, **more)

    return encode_expanded
