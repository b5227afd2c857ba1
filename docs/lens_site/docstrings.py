"""Docstrings are Markdown in small things: fenced and indented code and links become Sphinx markup."""

import re
from typing import Any

from sphinx.application import Sphinx

__all__ = ["fences_to_blocks", "setup"]

_FENCE = re.compile(r"^(\s*)```(\w*)$")
_LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)\s]+)\)")


def fences_to_blocks(lines: list[str]) -> list[str]:
    """Fenced blocks as `code-block` directives, links as reStructuredText's.

    Args:
        lines: of a docstring.
    """
    made: list[str] = []
    inside: str | None = None  # the indentation of the fence that is open
    for line in lines:
        fence = _FENCE.match(line)
        if fence and inside is None:
            inside = fence[1]
            made += [f"{inside}.. code-block:: {fence[2] or 'text'}", ""]
        elif fence:
            inside = None
            made.append("")
        elif inside is not None:
            made.append(f"   {line}" if line else line)
        else:
            made.append(_LINK.sub(r"`\1 <\2>`__", line))
    return _mark_code(made)


def _mark_code(lines: list[str]) -> list[str]:
    """What is indented after a line that ends in a colon and an empty one is code."""
    made = list(lines)
    for place, (line, empty, code) in enumerate(zip(lines, lines[1:], lines[2:], strict=False)):
        deeper = len(code) - len(code.lstrip()) > len(line) - len(line.lstrip())
        if line.endswith(":") and not line.endswith("::") and not empty.strip() and code.strip() and deeper:
            made[place] = f"{line}:"
    return made


def _convert(_app: Sphinx, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = fences_to_blocks(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Convert before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", _convert, priority=400)
    return {"parallel_read_safe": True}
