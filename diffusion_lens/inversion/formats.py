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
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from diffusion_lens.errors import InputError, UnsafeCheckpointError
from diffusion_lens.inversion.words import Word, check_fit, encoder_slots
from diffusion_lens.lens.output import write_whole

__all__ = ["encoder_keys", "hash_of", "read_word", "read_words", "write_word"]

_SUFFIXES = (".safetensors", ".bin", ".pt")
_TOKEN = "token"  # of the metadata


def encoder_keys(pipe: Any) -> dict[str, str]:
    """What the tools' files call each encoder of a pipeline that has several."""
    names = list(encoder_slots(pipe))
    clips = iter(("clip_l", "clip_g"))
    keys = {}
    for name in names:
        kind = type(getattr(pipe, name)).__name__
        keys[name] = "t5xxl" if kind.startswith("T5") else next(clips, name)
    return keys


def write_word(path: Path, word: Word, pipe: Any) -> None:
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
    named = {word.token if len(keys) == 1 else keys[name]: rows for name, rows in word.rows.items()}
    tensors = {key: rows.detach().float().cpu().contiguous() for key, rows in named.items()}
    # one entry: several would be written in any order, and bytes would differ
    content = save(tensors, metadata={_TOKEN: word.token})
    write_whole(path, lambda file: file.write(content))


def read_word(path: Path, pipe: Any, token: str | None = None) -> Word:
    """Read a word for a pipeline.

    Args:
        path: a file of one of the kinds above.
        pipe: the pipeline that is to speak it.
        token: how the word is to be written; as the file says if None, or by the name of a file that
            doesn't say.

    Raises:
        InputError: no such file, a damaged one, or one of no kind known or for another model.
        UnsafeCheckpointError: a pickle that holds more than numbers.
    """
    content, named = _read(path)
    found, rows = _rows(path, content, pipe)
    chosen = token or named or found or f"<{path.stem}>"
    rows = {name: (one[None] if one.ndim == 1 else one).detach().float() for name, one in rows.items()}
    counts = {name: len(one) for name, one in rows.items()}
    if len(set(counts.values())) != 1 or not min(counts.values()):
        raise InputError(
            f"{path} holds vectors {counts}; a word has as many for one encoder as for another."
        )
    if not all(one.isfinite().all() for one in rows.values()):
        raise InputError(f"{path} holds numbers that are not finite; the training that made it broke down.")
    word = Word(chosen, rows)
    try:
        check_fit(pipe, [word])
    except InputError as error:
        raise InputError(f"{path} can't be used: {error}") from None
    return word


def read_words(embeddings: Sequence[str | Path], pipe: Any) -> list[Word]:
    """Read the words of several files that are to be spoken together.

    Args:
        embeddings: paths, or "<token>=path" to write a word in another way than its file says.
        pipe: the pipeline that is to speak them.

    Raises:
        InputError: a file that can't be read (see `read_word`), or two words that can't be told apart.
    """
    words = []
    for one in embeddings:
        token, equals, path = str(one).rpartition("=")
        renamed = equals and not Path(one).exists()
        words.append(read_word(Path(path) if renamed else Path(one), pipe, token if renamed else None))
    return words


def hash_of(path: Path) -> str:
    """A hash of a file's content, 16 hex digits.

    Raises:
        InputError: it can't be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise InputError(f"The embedding {path} can't be read: {error.strerror}.") from None


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


def _rows(path: Path, content: Mapping[str, Any], pipe: Any) -> tuple[str, dict[str, Tensor]]:
    """The token that a file's content names, or "", and its vectors by encoder."""
    keys = encoder_keys(pipe)
    if "string_to_param" in content:  # A1111
        params = dict(content["string_to_param"].items())
        token, rows = str(content.get("name") or next(iter(params), "")), list(params.values())
        if len(rows) != 1:
            raise InputError(f"{path} holds {len(rows)} words; give a file of one.")
        return ("" if token == "*" else token), _of_first(path, keys, rows[0])
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    by_key = {name: tensors[key] for name, key in keys.items() if key in tensors}
    if by_key:
        return "", by_key
    if len(tensors) == 1:  # diffusers
        ((token, only),) = tensors.items()
        beside = path.with_name(f"{path.stem}_2{path.suffix}")
        if len(keys) == 2 and beside.is_file():
            second, _ = _read(beside)
            return token, {**_of_first(path, keys, only), list(keys)[1]: next(iter(second.values()))}
        return token, _of_first(path, keys, only)
    raise InputError(
        f"{path} holds {', '.join(map(repr, content)) or 'nothing'}, and no word: one tensor by its "
        f"token, or one each of {', '.join(keys.values())}."
    )


def _of_first(path: Path, keys: Mapping[str, str], rows: Any) -> dict[str, Tensor]:
    """Vectors of a file that names no encoder."""
    if not isinstance(rows, Tensor) or rows.ndim not in (1, 2):
        raise InputError(f"{path} holds no vectors in the place of a word's.")
    return {next(iter(keys)): rows}
