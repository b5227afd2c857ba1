"""Out of memory, however a device says it."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from diffusion_lens.errors import InputError, OutOfMemoryError
from diffusion_lens.models.denoisers import find_denoiser

__all__ = [
    "choose_batch",
    "explain_memory",
    "free_memory",
    "is_decoding",
    "is_out_of_memory",
    "is_small",
    "use_slicing",
]

# no class of their own: torch's CPU allocator, oneDNN without scratch memory, cuBLAS and cuDNN, MPS
_SIGNS = (
    "can't allocate memory",
    "could not create a primitive",
    "ALLOC_FAILED",
    "out of memory",
)


def choose_batch(pipe: Any, device: torch.device, size: int | None) -> int:
    """How many images are denoised together: the number that is asked for, or by default a good one.

    On the CPU a large denoiser gains nothing from more than a few, and its activations fill the memory. A
    small one, of latents of at most 16 x 16, spends much of its time between operations: on two cores
    the embedded models take per image the least time from 28 to 56 images on.

    Raises:
        InputError: the number is less than 1.
    """
    if size is not None:
        if size < 1:
            raise InputError(f"batch_size is {size}; it must be at least 1.")
        return size
    if device.type != "cpu":
        return 16
    return 32 if is_small(pipe) else 8


def is_small(pipe: Any) -> bool:
    """Whether a denoiser draws latents of at most 16 x 16, as those of the embedded models do."""
    side = getattr(find_denoiser(pipe).config, "sample_size", None)
    return isinstance(side, int) and side <= 16


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def free_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_decoding(error: BaseException, vae: Any) -> bool:
    """Whether an error came up while an autoencoder that can decode in slices was decoding."""
    if getattr(vae, "use_slicing", None) is not False:  # it can't, or does already
        return False
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_code.co_name == "decode" and frame.f_locals.get("self") is vae for frame in frames)


@contextmanager
def use_slicing(vae: Any, wanted: bool) -> Iterator[None]:
    """Let an autoencoder decode images one by one while the body runs, if that is wanted."""
    if not wanted or vae.use_slicing:
        yield
        return
    vae.enable_slicing()
    try:
        yield
    finally:
        vae.disable_slicing()


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
