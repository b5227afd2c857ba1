"""Hashes of weights that were loaded from disk, kept in the user's cache folder.

One small file a module, in `$XDG_CACHE_HOME/diffusion_lens/digests` (`~/.cache` if it is unset). Its name
is a hash of all that the answer hangs on: path, size and time of each file, the versions of the libraries
that read them, the class, its config, names, shapes and dtypes of the weights, and some of their numbers:
weights that the files lack, drawn at random, are not taken for those of last time. Only a module that is as
it was when `load_pipeline` returned is looked up. A file of the cache that is damaged, or can't be read or
written, is ignored.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ctypes import string_at
from importlib.metadata import version
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

__all__ = ["Stamp", "cached", "note_source", "some_numbers", "stamp"]

Stamp = tuple[tuple[str, int, int], ...]
"""Path, bytes and time of each file in nanoseconds."""

_SMALLEST = 2**26  # bytes of weights; below it, hashing takes a few hundredths of a second
_SCHEME = "2"  # another one where `digest_parts` hashes otherwise
_SAMPLE = 64  # bytes at the beginning, in the middle and at the end of each weight

_sources: "WeakKeyDictionary[nn.Module, tuple[Stamp, str, tuple[Any, ...]]]" = WeakKeyDictionary()


def stamp(files: Iterable[Path]) -> Stamp:
    """What tells the content of files without reading them; links are followed."""
    found = []
    for file in sorted(files):
        status = file.stat()
        found.append((str(file.resolve()), status.st_size, status.st_mtime_ns))
    return tuple(found)


def note_source(module: nn.Module, files: Stamp, how: str, signature: tuple[Any, ...]) -> None:
    """Say that a module's weights are those of these files, read in this way, and unchanged so far.

    Args:
        module: the module.
        files: the files that it was loaded from.
        how: what was asked of the loader besides the dtype, such as a variant.
        signature: what changes with the weights; see `digest_parts.signature_of`.
    """
    if files:
        _sources[module] = files, how, signature


def cached(
    module: nn.Module,
    weights: Sequence[tuple[str, Tensor]],
    signature: tuple[Any, ...],
    compute: Callable[[], str],
) -> str:
    """The hash of a module's weights: from the cache where they are as they were loaded, else computed."""
    source = _sources.get(module)
    plain = all(type(weight) in (Tensor, nn.Parameter, nn.Buffer) for _, weight in weights)
    size = sum(weight.numel() * weight.element_size() for _, weight in weights)
    if source is None or source[2] != signature or not plain or size < _SMALLEST:
        return compute()
    file = _folder() / _key(module, weights, *source[:2])
    with suppress(OSError, ValueError):
        value, check = file.read_text("ascii").split()
        if check == _check(file.name, value):
            return value
    value = compute()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{os.getpid()}")
        partial.write_text(f"{value} {_check(file.name, value)}\n", "ascii")
        partial.replace(file)
    return value


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "diffusion_lens/digests"


def _check(key: str, value: str) -> str:
    return hashlib.sha256(f"{key} {value}".encode()).hexdigest()


def _key(module: nn.Module, weights: Sequence[tuple[str, Tensor]], files: Stamp, how: str) -> str:
    versions = [version(name) for name in ("torch", "diffusers", "transformers", "safetensors")]
    config = str(getattr(module, "config", ""))
    digest = hashlib.sha256(repr((_SCHEME, versions, files, how, type(module).__name__, config)).encode())
    for name, weight in weights:
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
    digest.update(some_numbers([weight for _, weight in weights]))
    return digest.hexdigest()


def some_numbers(weights: Sequence[Tensor]) -> bytes:
    """A few bytes of the memory of each weight: at its beginning, in its middle and at its end."""
    # memory at hand is read without torch, which takes several times as long
    here = [
        string_at(weight.untyped_storage().data_ptr() + place, length)
        for weight in weights
        if weight.device.type == "cpu"
        for place, length in _samples(weight)
    ]
    elsewhere: dict[torch.device, list[Tensor]] = {}
    for weight in weights:
        if weight.device.type != "cpu":
            memory = torch.empty(0, dtype=torch.uint8, device=weight.device).set_(weight.untyped_storage())
            pieces = elsewhere.setdefault(weight.device, [])
            pieces += [memory[place : place + length] for place, length in _samples(weight)]
    return b"".join([*here, *(torch.cat(pieces).cpu().numpy().tobytes() for pieces in elsewhere.values())])


def _samples(weight: Tensor) -> list[tuple[int, int]]:
    """Where in a weight's memory its samples begin, and how long they are, in bytes."""
    width = weight.element_size()
    start, size = int(weight.storage_offset()) * width, weight.numel() * width
    # an expanded weight has less memory than numbers
    end = min(start + size, weight.untyped_storage().nbytes())
    places = (start, start + size // 2, start + max(0, size - _SAMPLE))
    return [(place, max(0, min(_SAMPLE, end - place))) for place in places]
