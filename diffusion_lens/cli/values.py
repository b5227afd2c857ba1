"""How values are read from the command line: what no verb can use is refused while it is parsed."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from diffusion_lens.errors import DiffusionLensError

__all__ = ["VALUES", "Seed", "ValueRefusedError"]

VALUES = ConstructorRegistry()
"""Readers of whole numbers, numbers, text and paths."""


class ValueRefusedError(DiffusionLensError):
    """A value that no option can have.

    It is no ValueError, of which tyro would keep the name of the option and drop the reason.
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{_shorten(text)} {reason}.")
        self.text = text

    def describe(self, arguments: Sequence[str]) -> str:
        """The message with the option that the value was given for."""
        before = arguments[: arguments.index(self.text)] if self.text in arguments else ()
        option = next((word for word in reversed(before) if word.startswith("--")), None)
        return f"{option}: {self}" if option else str(self)


_LARGEST = 2**63 - 1
# what most file systems allow for the parts of a path, in bytes
_LONGEST_NAME = 255


def _read_integer(text: str) -> int:
    """A whole number of plain digits that fits 64 bits."""
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", text) or abs(int(text)) > _LARGEST:
        raise ValueRefusedError(text, "is not a whole number of at most 64 bits, such as 20")
    return int(text)


def _read_seed(text: str) -> int:
    """A whole number of at least 0."""
    seed = _read_integer(text)
    if seed < 0:
        raise ValueRefusedError(text, "is no seed; a seed is a whole number of at least 0, such as 0 or 42")
    return seed


def _read_number(text: str) -> float:
    """A finite number of plain digits."""
    plain = re.fullmatch(r"[0-9eE.+-]{1,40}", text)
    try:
        value = float(text) if plain else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueRefusedError(text, "is not a number, such as 0.5")
    return value


def _read_text(text: str) -> str:
    """Text that is valid Unicode: the shell hands on bytes of other encodings as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueRefusedError(text, "is not valid UTF-8; give the text in that encoding") from None
    return text


def _read_path(text: str) -> Path:
    """A path whose parts a file system can hold."""
    if not text:
        raise ValueRefusedError(text, "is no path; . is this folder")
    if "\0" in text:
        raise ValueRefusedError(text, "holds a NUL, which no file system allows")
    if len(text.encode(errors="surrogateescape")) > 4096 or any(
        len(part.encode(errors="surrogateescape")) > _LONGEST_NAME - len("..partial.parquet")
        for part in Path(text).parts
    ):
        raise ValueRefusedError(text, "is too long for a file system; choose a shorter name")
    return Path(text)


def _shorten(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:50]}...")


def _spec(kind: type, read: Callable[[str], object], metavar: str) -> PrimitiveConstructorSpec:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda given: read(given[0]),
        is_instance=lambda value: isinstance(value, kind) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def _add(kind: type, read: Callable[[str], object], metavar: str) -> None:
    @VALUES.primitive_rule
    def rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        return _spec(kind, read, metavar) if info.type is kind else None


_add(int, _read_integer, "INT")
_add(float, _read_number, "NUMBER")
_add(str, _read_text, "TEXT")
_add(Path, _read_path, "PATH")

Seed = Annotated[int, _spec(int, _read_seed, "INT")]
"""The type of an option that is a seed."""
