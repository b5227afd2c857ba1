"""Files of learned words: those that others write, and the safetensors that others read.

| written by | content | read | written |
|---|---|---|---|
| diffusers | one key, the token: `[vector, width]`; `.safetensors`, or a pickled `.bin` | yes | yes |
| diffusers' SDXL script | the same for the second encoder in a file beside it, `NAME_2` | yes | no |
| SDXL, SD3 and FLUX tools | `clip_l`, `clip_g`, `t5xxl`: `[vector, width]` each; no token | yes | yes |
| A1111, rinongal | a pickled `.pt` with `string_to_param` and perhaps `name` | yes | no |

Pickles are read by `torch.load(weights_only=True)`, which runs no code of the file. Of a model with one
encoder the first kind is written, of one with several the third, with the token in the metadata.
"""

import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from diffusion_lens.errors import InputError, UnsafeCheckpointError
from diffusion_lens.files import write_whole
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.models.stub_encoders import is_stub
from diffusion_lens.text.embeddings import Embedding, check_fit, encoder_slots

__all__ = [
    "EmbeddingFile",
    "GivenEmbedding",
    "KnownEmbeddings",
    "encoder_keys",
    "read_embedding",
    "read_embedding_file",
    "read_embedding_files",
    "write_embedding",
]

_SUFFIXES = (".safetensors", ".bin", ".pt")
_TOKEN = "token"  # of the metadata
_TOOLS = ("clip_l", "clip_g", "t5xxl")  # what tools call encoders


def encoder_keys(pipe: Any) -> dict[str, str]:
    """What the tools' files call each encoder of a pipeline that has several."""
    names = list(encoder_slots(pipe))
    clips = iter(("clip_l", "clip_g"))
    keys = {}
    for name in names:
        kind = type(getattr(pipe, name)).__name__
        keys[name] = "t5xxl" if kind.startswith("T5") else next(clips, name)
    return keys


def write_embedding(path: Path, word: Embedding, pipe: Any) -> None:
    """Write a word to a safetensors file.

    Args:
        path: ends in .safetensors.
        word: the word.
        pipe: the pipeline that it was learned on.

    Raises:
        InputError: another ending.
        OutputError: it can't be written.
    """
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} does not end in .safetensors, the one kind of file that words are written to: it has "
            "no code, and diffusers and A1111 read it."
        )
    keys = encoder_keys(pipe)
    named = {word.token if len(keys) == 1 else keys[name]: rows for name, rows in word.vectors.items()}
    tensors = {key: rows.detach().float().cpu().contiguous() for key, rows in named.items()}
    # one entry: several would be written in any order, and bytes would differ
    content = save(tensors, metadata={_TOKEN: word.token})
    write_whole(path, lambda file: file.write(content))


@dataclass(frozen=True)
class EmbeddingFile:
    """What a file holds, before it is known which pipeline is to speak it.

    Attributes:
        path: the file.
        token: how the word is written.
        tensors: its vectors by their names in the file.
        second: vectors for a second encoder, of a file beside it.
        hash: of the content, 16 hex digits.
    """

    path: Path
    token: str
    tensors: Mapping[str, Tensor]
    second: Tensor | None
    hash: str

    def embedding(self, pipe: Any) -> Embedding:
        """The word, for a pipeline.

        Raises:
            InputError: it is for another kind of model, or not finite.
        """
        path = self.path
        rows = {
            name: (one[None] if one.ndim == 1 else one).detach().float()
            for name, one in self._rows(pipe).items()
        }
        counts = {name: len(one) for name, one in rows.items()}
        if len(set(counts.values())) != 1 or not min(counts.values()):
            raise InputError(
                f"{path} holds vectors {counts}; a word has as many for one encoder as for another."
            )
        if not all(one.isfinite().all() for one in rows.values()):
            raise InputError(
                f"{path} holds numbers that are not finite; the training that made it broke down."
            )
        word = Embedding(self.token, rows)
        try:
            check_fit(pipe, [word])
        except InputError as error:
            raise InputError(f"{path} can't be used: {error}") from None
        return word

    def _rows(self, pipe: Any) -> dict[str, Tensor]:
        """The vectors by the pipeline's names of its encoders."""
        keys = encoder_keys(pipe)
        by_key = {name: self.tensors[key] for name, key in keys.items() if key in self.tensors}
        if by_key:
            return by_key
        if len(self.tensors) != 1:
            raise InputError(
                f"{self.path} holds {', '.join(map(repr, self.tensors)) or 'nothing'}, and no word: one "
                f"tensor by its token, or one each of {', '.join(keys.values())}."
            )
        rows = dict(zip(keys, self.tensors.values(), strict=False))
        if len(keys) == 2 and self.second is not None:
            rows[list(keys)[1]] = self.second
        if any(one.ndim not in (1, 2) for one in rows.values()):
            raise InputError(f"{self.path} holds no vectors in the place of a word's.")
        return rows


def read_embedding_file(path: Path, token: str | None = None) -> EmbeddingFile:
    """Read a file of a word.

    Args:
        path: a file of one of the kinds above.
        token: how the word is to be written; as the file says if None, or by the name of a file that
            doesn't say.

    Raises:
        InputError: no such file, a damaged one, or one of no kind known.
        UnsafeCheckpointError: a pickle that holds more than numbers.
    """
    content, named = _read(path)
    hashed = hashlib.sha256(path.read_bytes())
    if "string_to_param" in content:  # A1111
        params = dict(content["string_to_param"].items())
        if len(params) != 1:
            raise InputError(f"{path} holds {len(params)} words; give a file of one.")
        ((found, rows),) = params.items()
        said = str(content.get("name") or found)
        content = {"" if said == "*" else said: rows}
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    second, beside = None, _beside(path)
    if len(tensors) == 1 and tensors.keys().isdisjoint(_TOOLS):  # diffusers
        named = named or next(iter(tensors))
        other = _read(beside)[0] if beside.is_file() else {}
        if other.keys() == tensors.keys():  # the same word, for a second encoder
            (second,) = other.values()
            hashed.update(beside.read_bytes())
    return EmbeddingFile(path, token or named or f"<{path.stem}>", tensors, second, hashed.hexdigest()[:16])


def read_embedding_files(embeddings: Sequence[str | Path], base: Path = Path()) -> list[EmbeddingFile]:
    """Read several files of words.

    Args:
        embeddings: paths, of files or of folders full of them; or "<token>=path" to write a word in
            another way than its file says.
        base: where relative paths start.

    Raises:
        InputError, UnsafeCheckpointError: see `read_embedding_file`.
    """
    files = []
    for one in embeddings:
        whole, (token, _, path) = base / str(one), str(one).rpartition("=")
        if whole.is_dir():
            inside = [
                read_embedding_file(one) for one in sorted(whole.iterdir()) if one.suffix in _SUFFIXES
            ]
            if not inside:
                raise InputError(f"{whole} holds no embeddings ({', '.join(_SUFFIXES)}).")
            seconds = {_beside(one.path) for one in inside if one.second is not None}
            files += [one for one in inside if one.path not in seconds]
        elif token and not whole.exists():
            files.append(read_embedding_file(base / path, token))
        else:
            files.append(read_embedding_file(whole))
    return files


def _beside(path: Path) -> Path:
    """Where diffusers' SDXL script puts the vectors for the second encoder."""
    return path.with_name(f"{path.stem}_2{path.suffix}")


GivenEmbedding = Embedding | EmbeddingFile | str | os.PathLike[str]
"""A learned embedding as a user gives it: itself, its file, or a folder of files."""


@dataclass(frozen=True)
class KnownEmbeddings:
    """The learned embeddings that the prompts of a lens may hold.

    Attributes:
        hashes: the hash of each by its token.
        fitted: those that were fitted to the encoders; without those that were given to stubs.
    """

    hashes: Mapping[str, str] = field(default_factory=dict)
    fitted: tuple[Embedding, ...] = ()

    def add(self, conditioner: Conditioner, given: Sequence[GivenEmbedding]) -> "KnownEmbeddings":
        """These and further ones, of which one replaces an older one of the same token.

        Args:
            conditioner: of the pipeline that is to use them; its encoders may be stubs, which encode
                nothing, so that files are not fitted to them.
            given: embeddings, files, or folders of files.

        Raises:
            InputError: one can't be read or does not fit the encoders.
        """
        stubs = any(is_stub(encoder.module) for encoder in conditioner.encoders.values())
        hashes = dict(self.hashes)
        fitted = {one.token: one for one in self.fitted}
        for one in given:
            files = read_embedding_files([Path(one)]) if isinstance(one, (str, os.PathLike)) else [one]
            for found in files:
                if hashes.get(found.token) == found.hash:
                    continue
                hashes[found.token] = found.hash
                if isinstance(found, Embedding):
                    fitted[found.token] = found
                elif not stubs:
                    fitted[found.token] = found.embedding(conditioner.pipe)
        check_fit(conditioner.pipe, list(fitted.values()))
        return KnownEmbeddings(hashes, tuple(fitted.values()))


def read_embedding(path: Path, pipe: Any, token: str | None = None) -> Embedding:
    """Read a word for a pipeline; see `read_embedding_file` and `EmbeddingFile.embedding`."""
    return read_embedding_file(path, token).embedding(pipe)


def _read(path: Path) -> tuple[Mapping[str, Any], str | None]:
    """What a file holds, and the token where its metadata say one."""
    if not path.is_file():
        raise InputError(f"There is no embedding {path}. Give a file that `diffusion-lens invert` wrote.")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                keys = list(file.keys())
                return {key: file.get_tensor(key) for key in keys}, (file.metadata() or {}).get(_TOKEN)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is no whole safetensors file ({error}). Get it again.") from None
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path} is of no kind known. Allowed: {', '.join(_SUFFIXES)}.")
    try:
        with torch.serialization.safe_globals([torch.nn.ParameterDict, set]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        line = str(error).strip().splitlines()[0]
        raise UnsafeCheckpointError(
            f"{path} is a pickle of more than numbers, or damaged, and was not run ({line[:160]}). "
            "Have whoever made it save it as safetensors."
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path} can't be read ({type(error).__name__}: {error}). Get it again.") from None
    if isinstance(content, Tensor):
        return {"": content}, None
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__} and no embedding.")
    return content, None
