"""Out of memory, however a device says it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from diffusion_lens.errors import OutOfMemoryError

__all__ = ["explain_memory", "is_out_of_memory"]

# no class of their own: torch's CPU allocator, oneDNN without scratch memory, cuBLAS and cuDNN, MPS
_SIGNS = (
    "can't allocate memory",
    "could not create a primitive",
    "ALLOC_FAILED",
    "out of memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


@contextmanager
def explain_memory(what: str, remedy: str) -> Iterator[None]:
    """Turn running out of memory in the body into one message.

    Raises:
        OutOfMemoryError: it did.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"{what}. Try {remedy}, or 16 bits.") from error
