"""How an encoder reads learned words: their rows where its matrix is looked up, and where a CLIP pools."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lens.models.hooks import replace_forward

__all__ = ["pool_at_end", "read_words", "swapped"]


def read_words(
    stack: ExitStack, encoder: nn.Module, words: Sequence[Mapping[str, Tensor]], name: str, first: int
) -> None:
    """Let an encoder find the words' rows at the token ids `first` and on, until the stack is closed.

    The rows are looked up anew at every call.

    Args:
        stack: what undoes it.
        encoder: the encoder.
        words: the vectors of each word by encoder, `[vector, width]`, in the order of their ids.
        name: the pipeline's name for the encoder.
        first: the id of the first vector of the first word.
    """
    for embedding in _embeddings(encoder):
        stack.enter_context(replace_forward(embedding, _look_up(embedding, words, name, first)))


def _look_up(embedding: nn.Module, words: Sequence[Mapping[str, Tensor]], encoder: str, first: int) -> Any:
    """The embedding's forward pass with the words' rows at ids `first` and on."""
    forward = embedding.forward
    count = sum(len(vectors[encoder]) for vectors in words)

    def look_up(ids: Tensor) -> Tensor:
        index = ids - first
        learned = (index >= 0) & (index < count)
        known: Tensor = forward(torch.where(learned, 0, ids))
        if not count:
            return known
        rows = torch.cat([vectors[encoder] for vectors in words]).to(known.device, known.dtype)
        return torch.where(learned[..., None], rows[index.clamp(0, count - 1)], known)

    return look_up


def _embeddings(encoder: nn.Module) -> list[nn.Module]:
    """Every module that looks up the encoder's matrix: in T5 two modules share it."""
    own: Any = encoder.get_input_embeddings()  # type: ignore[operator]
    shared = [module for module in encoder.modules() if getattr(module, "weight", None) is own.weight]
    return [own, *(module for module in shared if module is not own and isinstance(module, nn.Embedding))]


def pool_at_end(stack: ExitStack, encoder: nn.Module, tokenizer: Any) -> None:
    """Let a CLIP pool at its end of text.

    CLIP configs that give 2 as the end by mistake make it pool at the largest id, which would be that of
    the word. The end itself is what they mean (huggingface/transformers pull request 24773).
    """
    for holder in [getattr(encoder, "config", None), *encoder.modules()]:
        if getattr(holder, "eos_token_id", None) == 2 and type(encoder).__name__.startswith("CLIP"):
            stack.enter_context(swapped(holder, "eos_token_id", tokenizer.eos_token_id))


@contextmanager
def swapped(holder: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for an attribute of an object while the body runs."""
    own = name in vars(holder)
    before = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        if own:
            setattr(holder, name, before)
        else:
            delattr(holder, name)
