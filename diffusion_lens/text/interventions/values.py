"""Values of interventions as text: numbers, words, quoted where they could be read as another thing."""

import re

__all__ = ["read_value", "write_value"]


def read_value(text: str) -> int | float | bool | str | None:
    """A bare value: a number where it reads as one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text, text)


def write_value(value: object) -> str:
    """A value as it is written; a text that could be read as another thing is quoted."""
    if not isinstance(value, str):
        if value is None or isinstance(value, bool):
            return str(value).lower()
        return repr(value).replace("e+", "e")  # a plus stands between interventions
    plain = value == value.strip() and re.fullmatch(r"[^\",=()+\\]+", value) and read_value(value) == value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return value if plain else f'"{escaped}"'
