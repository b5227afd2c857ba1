"""Files of learned words: those that others write, and the safetensors that others read.

| written by | content | read | written |
|---|---|---|---|
| diffusers | one key, the token: `[vector, width]`; `.safetensors`, or a pickled `.bin` | yes | yes |
| diffusers' SDXL script | the same for the second encoder in a file beside it, `NAME_2` | yes | no |
| SDXL, SD3 and FLUX tools | `clip_l`, `clip_g`, `t5xxl`: `[vector, width]` each; no token | yes | yes |
| kohya, OneTrainer | `emb_params` or `emp_params`: `[vector, width]`; no token | yes | no |
| A1111, rinongal | a pickled `.pt` with `string_to_param` and perhaps `name` | yes | no |

Pickles are read by `torch.load(weights_only=True)`, which runs no code of the file. Of a model with one
encoder the first kind is written, of one with several the third. The metadata hold the token and a sample
of each encoder that the word was learned with (`embedding_origin`). A word whose file names no token is
written `<NAME>`, by the file's name.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from diffusion_lens.errors import InputError
from diffusion_lens.files import write_whole
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.models.stub_encoders import is_stub
from diffusion_lens.text.embedding_content import ORIGIN, SUFFIXES, read_content
from diffusion_lens.text.embedding_origin import (
    VocabularySample,
    check_origin,
    sample_vocabulary,
    write_origin,
)
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

log = logging.getLogger(__name__)

_TOOLS = ("clip_l", "clip_g", "t5xxl")  # what tools call encoders
_VECTORS = ("emb_params", "emp_params")  # what tools call the vectors of the one encoder that they know
_SHOWN = 6


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
    samples = {key: sample_vocabulary(getattr(pipe, name)) for name, key in keys.items()}
    # one entry: several would be written in any order, and bytes would differ
    content = save(tensors, metadata={ORIGIN: write_origin(word.token, samples)})
    write_whole(path, lambda file: file.write(content))


@dataclass(frozen=True)
class EmbeddingFile:
    """What a file holds, before it is known which pipeline reads it.

    Attributes:
        path: the file.
        token: how the word is written.
        tensors: its vectors by their names in the file.
        second: vectors for a second encoder, of a file beside it.
        hash: of the content, 16 hex digits.
        origin: a sample of each encoder that it was learned with, as far as the file says.
    """

    path: Path
    token: str
    tensors: Mapping[str, Tensor]
    second: Tensor | None
    hash: str
    origin: Mapping[str, VocabularySample] = field(default_factory=dict)

    def embedding(self, pipe: Any) -> Embedding:
        """The word, for a pipeline; a warning says that it was learned on a fine-tune of the encoders.

        Raises:
            InputError: it was learned with other encoders, is for another kind of model, or not finite.
        """
        path, found = self.path, self._rows(pipe)
        if any(one.ndim not in (1, 2) for one in found.values()):
            raise InputError(f"{path} holds no vectors in the place of a word's.")
        rows = {name: (one[None] if one.ndim == 1 else one).detach().float() for name, one in found.items()}
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
        check_origin(path, pipe, encoder_keys(pipe), self.origin)
        return word

    def _rows(self, pipe: Any) -> dict[str, Tensor]:
        """The vectors by the pipeline's names of its encoders."""
        keys = encoder_keys(pipe)
        by_key = {name: self.tensors[key] for name, key in keys.items() if key in self.tensors}
        if by_key:
            self._tell_unused([key for key in self.tensors if key not in keys.values()], keys)
            return by_key
        if len(self.tensors) != 1:
            shown = [repr(key) for key in list(self.tensors)[:_SHOWN]]
            more = f" and {len(self.tensors) - _SHOWN} more" if len(self.tensors) > _SHOWN else ""
            raise InputError(
                f"{self.path} holds {', '.join(shown) or 'nothing'}{more}, and no word: one tensor by its "
                f"token, or one each of {', '.join(keys.values())}."
            )
        rows = dict(zip(keys, self.tensors.values(), strict=False))
        if len(keys) == 2 and self.second is not None:
            rows[list(keys)[1]] = self.second
        elif self.second is not None:
            self._tell_unused([_beside(self.path).name], keys)
        return rows

    def _tell_unused(self, parts: Sequence[str], keys: Mapping[str, str]) -> None:
        if parts:
            log.warning(
                "%s: %s is not used. The pipeline reads %s.",
                self.path,
                ", ".join(parts),
                ", ".join(f"{key} ({name})" for name, key in keys.items()),
            )


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
    content = read_content(path)
    tensors, named = content.tensors, content.token
    hashed = hashlib.sha256(path.read_bytes())
    second, beside = None, _beside(path)
    if len(tensors) == 1 and tensors.keys().isdisjoint(_TOOLS):  # diffusers, or one of `_VECTORS`
        (key,) = tensors
        named = named or (None if key in _VECTORS else key)
        other = read_content(beside).tensors if beside.is_file() else {}
        if other.keys() == tensors.keys():  # the same word, for a second encoder
            (second,) = other.values()
            hashed.update(beside.read_bytes())
    token = token or named or f"<{path.stem}>"
    return EmbeddingFile(path, token, tensors, second, hashed.hexdigest()[:16], content.origin)


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
            inside = [read_embedding_file(one) for one in sorted(whole.iterdir()) if one.suffix in SUFFIXES]
            if not inside:
                raise InputError(f"{whole} holds no embeddings ({', '.join(SUFFIXES)}).")
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
            InputError: one can't be read or does not fit the encoders, or two have one token.
        """
        stubs = any(is_stub(encoder.module) for encoder in conditioner.encoders.values())
        hashes = dict(self.hashes)
        fitted = {one.token: one for one in self.fitted}
        now: set[str] = set()
        for one in given:
            files = read_embedding_files([Path(one)]) if isinstance(one, (str, os.PathLike)) else [one]
            for found in files:
                if hashes.get(found.token) == found.hash:
                    continue
                if found.token in now:
                    raise InputError(
                        f"The token {found.token!r} was given twice, with different vectors. Write one of "
                        "the two in another way: NAME=FILE."
                    )
                now.add(found.token)
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
