"""The tensors in a file of a learned embedding, whoever wrote it; no code of a file is run."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffusion_lens.errors import InputError, UnsafeCheckpointError
from diffusion_lens.text.embedding_origin import VocabularySample, read_origin

__all__ = ["ORIGIN", "SUFFIXES", "Content", "read_content"]

SUFFIXES = (".safetensors", ".bin", ".pt")
ORIGIN = "diffusion_lens"  # of the metadata of a safetensors file: see `write_origin`
_TOKEN = "token"  # of those that 0.1 wrote: the token alone
_LARGEST = 2**24  # numbers in a tensor; a word of 75 vectors of 4096 has 300,000


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        tensors: by their names; of a file of A1111 the one tensor is under the word that the file names, or
            under "".
        token: how the word is written, where the metadata say so.
        origin: a sample of each encoder that it was learned with, where the metadata hold them.
    """

    tensors: Mapping[str, Tensor]
    token: str | None = None
    origin: Mapping[str, VocabularySample] = field(default_factory=dict)


def read_content(path: Path) -> Content:
    """Read a file.

    Raises:
        InputError: no such file, a damaged one, or one that holds no tensors by name.
        UnsafeCheckpointError: a pickle that holds more than numbers.
    """
    if not path.is_file():
        raise InputError(f"There is no embedding {path}. Give a file that `diffusion-lens invert` wrote.")
    if path.suffix == ".safetensors":
        found, metadata = _read_safetensors(path)
    elif path.suffix in SUFFIXES:
        found, metadata = _read_pickle(path), {}
    else:
        raise InputError(f"{path} is of no kind known. Allowed: {', '.join(SUFFIXES)}.")
    tensors = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    if not all(isinstance(key, str) for key in tensors):
        raise InputError(f"{path} holds tensors under names that are no text, and no embedding.")
    checked = {key: _checked(path, value) for key, value in tensors.items()}
    if ORIGIN in metadata:
        return Content(checked, *read_origin(path, metadata[ORIGIN]))
    return Content(checked, metadata.get(_TOKEN))


def _read_safetensors(path: Path) -> tuple[Mapping[Any, Any], Mapping[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            return {key: file.get_tensor(key) for key in keys}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is no whole safetensors file ({error}). Get it again.") from None


def _read_pickle(path: Path) -> Mapping[Any, Any]:
    with open(path, "rb") as file:
        start = file.read(48)
    if not start.startswith((b"PK", b"\x80")):
        raise InputError(
            f"{path} is no file of torch: it begins with {start[:24]!r}. A web page or a pointer of "
            "Git LFS was saved in its place; get the file itself."
        )
    try:
        with torch.serialization.safe_globals([torch.nn.ParameterDict, set]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f" ({named[1]})" if named else ", or damaged"
        raise UnsafeCheckpointError(
            f"{path} is a pickle of more than numbers{why}, and was not run. Have whoever made it "
            "save it as safetensors."
        ) from None
    except Exception as error:  # what a crafted file lets torch raise has no end of kinds
        line = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"{path} can't be read ({type(error).__name__}: {line}). Get it again.") from None
    if isinstance(content, Tensor):
        return {"": content}
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__} and no embedding.")
    return _of_a1111(path, content) if "string_to_param" in content else content


def _of_a1111(path: Path, content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    try:
        params = dict(content["string_to_param"].items())
    except Exception:  # a number, a list, or a ParameterDict made of one
        raise InputError(f"{path} names no vectors in the place of its word's. Get it again.") from None
    if len(params) != 1:
        raise InputError(f"{path} holds {len(params)} words; give a file of one.")
    ((found, rows),) = params.items()
    said = str(content.get("name") or found)
    return {"" if said == "*" else said: rows}


def _checked(path: Path, tensor: Tensor) -> Tensor:
    plain = tensor.layout == torch.strided and not (
        tensor.is_meta or tensor.is_nested or tensor.is_quantized
    )
    if not plain or not tensor.is_floating_point() or tensor.numel() > _LARGEST:
        kind = f"{tensor.dtype}, {'x'.join(map(str, tensor.shape))}" if plain else "not plain numbers"
        raise InputError(
            f"{path} holds a tensor that is no word's vectors ({kind}). Get it again, or give the file of "
            "an embedding."
        )
    return tensor
