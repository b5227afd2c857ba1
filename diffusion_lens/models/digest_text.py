"""The hash of what is written as text: configs, settings, and the files of tokenizers."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

__all__ = [
    "DIGITS",
    "VOLATILE",
    "digest_tokenizer",
    "end_of_text",
    "is_plain",
    "short",
    "stable",
    "text_of_config",
]

DIGITS = 16
VOLATILE = frozenset(
    (
        "_commit_hash",
        "_diffusers_version",
        "_name_or_path",
        "_use_default_values",
        "dtype",  # weights say it themselves
        "name_or_path",
        "torch_dtype",
        "transformers_version",
    )
)


def end_of_text(module: Any, name: str, value: Any) -> Any:
    """CLIP configs that give 2 as the end of text mean the last id, and both pool at the same place."""
    if name != "eos_token_id" or not type(module).__name__.startswith("CLIP"):
        return value
    size = getattr(getattr(module, "config", module), "vocab_size", 0)
    return "end of text" if value in (2, size - 1) else value


def text_of_config(part: Any) -> str:
    """The config of a part, without what says who wrote it; empty if it has none.

    It is that of the part as it is saved: saving writes the name of its class into its config.
    """
    config = getattr(part, "config", None)
    if config is None:
        return ""
    if isinstance(config, Mapping):
        items = {**config, "_class_name": type(part).__name__}
    else:
        items = {**config.to_dict(), "architectures": [type(part).__name__]}
    fields = {name: end_of_text(config, name, one) for name, one in items.items() if name not in VOLATILE}
    return stable(fields)


_tokenizers: "WeakKeyDictionary[Any, tuple[tuple[Any, ...], str]]" = WeakKeyDictionary()
_saved: dict[str, str] = {}  # by what a tokenizer saves: one that is loaded again is not read again


def digest_tokenizer(tokenizer: Any) -> str:
    """The hash of a tokenizer or processor by all files that it saves; 16 hex digits."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    # the files hold these as they were loaded, and not as they are
    names = ("padding_side", "truncation_side", "model_max_length", "chat_template", "special_tokens_map")
    signature = (
        len(inner) if hasattr(inner, "__len__") else 0,
        *(str(getattr(inner, name, None)) for name in names),
    )
    known = _tokenizers.get(tokenizer)
    if known is not None and known[0] == signature:
        return known[1]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        written = [path.relative_to(folder).as_posix() for path in files]
        about = [type(tokenizer).__name__, signature]
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        same = short([*about, *zip(written, hashes, strict=True)])
        if same not in _saved:
            contents = map(_content, files)
            _saved[same] = short([*about, *zip(written, contents, strict=True)])
    value = _saved[same]
    _tokenizers[tokenizer] = signature, value
    return value


def _content(path: Path) -> str:
    """A file's content; of a JSON object, without the fields that say who wrote it."""
    data = path.read_bytes()
    if path.suffix == ".json":
        fields = json.loads(data)
        if isinstance(fields, dict):
            fields.pop("truncation", None)  # the last call's, in tokenizer.json
            fields.pop("padding", None)
            return stable({name: value for name, value in fields.items() if name not in VOLATILE})
    return hashlib.sha256(data).hexdigest()


def is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, text and containers of these alone."""
    if isinstance(value, Mapping):
        return all(is_plain(one) for one in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return all(is_plain(one) for one in value)
    return value is None or isinstance(value, bool | int | float | str | torch.dtype)


def stable(values: Any) -> str:
    """Values as text that does not hang on their order."""
    return json.dumps(values, sort_keys=True, default=_sorted_text)


def _sorted_text(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


def short(parts: Any) -> str:
    """A hash of a few hex digits."""
    return hashlib.sha256(stable(parts).encode()).hexdigest()[:DIGITS]
