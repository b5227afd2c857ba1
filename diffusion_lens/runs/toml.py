"""From plain data to frozen dataclasses, by their types; wrong keys and types are named."""

import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from diffusion_lens.errors import ExperimentError, nearest

__all__ = ["plain_dataclass", "read_dataclass"]

T = TypeVar("T")
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def read_dataclass(kind: type[T], data: Any, where: str = "") -> T:
    """An instance of a dataclass from a table.

    Args:
        kind: the dataclass.
        data: the table.
        where: its key, for messages; empty at the top.

    Raises:
        ExperimentError: an unknown or missing key, or a value of the wrong type.
    """
    title = f"[{where}]" if where else "the experiment"
    hints = get_type_hints(kind)
    known = fields(kind)  # type: ignore[arg-type]
    names = [one.name for one in known]
    if not isinstance(data, Mapping):
        raise ExperimentError(
            f"{where} is {data!r}; it must be a table, written below [{where}] with some of the keys "
            f"{', '.join(names)}."
        )
    prefix = f"{where}." if where else ""
    for name in data:
        if name not in names:
            advice = _table_with(name, hints, prefix) or nearest(str(name), names)
            raise ExperimentError(
                f"There is no key {name!r} in {title}.{advice} Allowed: {', '.join(names)}."
            )
    for one in known:
        if one.default is MISSING and one.default_factory is MISSING and one.name not in data:
            raise ExperimentError(f"{prefix}{one.name} is missing in {title}; it must be given.")
    values = {name: _read(hints[name], value, f"{prefix}{name}") for name, value in data.items()}
    return kind(**values)


def _table_with(name: Any, hints: Mapping[str, Any], prefix: str) -> str:
    """A sentence on the table within this one where a key belongs; empty if there is none."""
    for table, hint in hints.items():
        kinds = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and is_dataclass(kind)]
        if any(one.name == name for kind in kinds for one in fields(kind)):
            return f" It stands below [{prefix}{table}]."
    return ""


def _read(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type of `hint`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return read_dataclass(hint, value, where)
    if origin in (Union, types.UnionType):
        options = [one for one in arguments if one is not type(None)]
        for option in options:
            if _fits(option, value):
                return _read(option, value, where)
        if len(options) == 1:
            return _read(options[0], value, where)
    elif origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_read(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    elif origin is not None and issubclass(_class(origin), Mapping) and isinstance(value, Mapping):
        return {str(name): _read(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    elif hint is Any:
        return value
    elif _fits(hint, value):
        return float(value) if hint is float else value
    guess = nearest(value, get_args(hint)) if origin is Literal and isinstance(value, str) else ""
    raise ExperimentError(f"{where} is {value!r}; it must be {_describe(hint)}.{guess}")


def _class(origin: Any) -> type:
    return origin if isinstance(origin, type) else object


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is of a plain type, a list, or a choice of a literal; a bool is no number."""
    if get_origin(hint) is Literal:
        return value in get_args(hint) and not isinstance(value, bool)
    if get_origin(hint) is tuple:
        return isinstance(value, (list, tuple))
    if hint is float:
        return isinstance(value, float) or (type(value) is int and abs(value) <= sys.float_info.max)
    if isinstance(hint, type) and hint in _NAMES:
        return type(value) is hint
    return False


def _describe(hint: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(repr(one) for one in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(one) for one in arguments if one is not type(None))
    if origin is tuple:
        return f"a list, each {_describe(arguments[0])}"
    if isinstance(hint, type) and hint in _NAMES:
        return _NAMES[hint]
    return "a table"


def plain_dataclass(value: Any) -> Any:
    """A dataclass as a table without what is at its default, and what it holds likewise."""
    if is_dataclass(value):
        plain = {}
        for one in fields(value):
            content = getattr(value, one.name)
            default = one.default_factory() if one.default_factory is not MISSING else one.default
            if content != default or (one.default is MISSING and one.default_factory is MISSING):
                plain[one.name] = plain_dataclass(content)
        return plain
    if isinstance(value, Mapping):
        return {name: plain_dataclass(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_dataclass(one) for one in value]
    return value
