"""The directive `run`: Python of a page that is run when the page is built, shown with what it gives.

The blocks of a page share their names. What the last line of a block gives is shown: a PIL image, or a
result, as a picture; a table as a table; anything else as text. So a page can't show code that fails.
"""

import ast
import io
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from docutils import nodes
from docutils.parsers.rst import directives
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from diffusion_lens import Result

__all__ = ["Run", "run_block", "setup"]


def run_block(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """Run Python.

    Args:
        source: statements, the last of which may be an expression.
        names: what earlier blocks defined; added to.

    Returns:
        What was printed, and the value of the last expression, or None.
    """
    parsed = ast.parse(source)
    last = parsed.body.pop() if parsed.body and isinstance(parsed.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(parsed, "<page>", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "<page>", "eval"), names) if last else None
    return printed.getvalue(), value


class Run(SphinxDirective):
    """A block of Python that is run; `:hide:` shows only what it gives, `:alt:` says what is seen."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"hide": directives.flag, "alt": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """The code, and what it gives."""
        source = "\n".join(self.content)
        self.env.note_reread()  # what it gives depends on the whole package
        names = self.env.temp_data.setdefault("lens-run", {"__name__": "page"})
        try:
            printed, value = run_block(source, names)
        except Exception as error:
            raise self.error(f"The code of this block fails: {type(error).__name__}: {error}") from error
        made: list[nodes.Node] = []
        if "hide" not in self.options:
            made.append(nodes.literal_block(source, source, language="python"))
        if printed:
            made.append(self._text(printed.rstrip()))
        made += self._shown(value)
        return made

    def _shown(self, value: Any) -> list[nodes.Node]:
        if value is None:
            return []
        if isinstance(value, Result):
            value = value.grid()
        if isinstance(value, Image.Image):
            return [nodes.image(uri=self._save(value), alt=self.options.get("alt", ""), classes=["lens"])]
        if isinstance(value, pd.DataFrame):
            return [nodes.raw("", _html(value), format="html")]
        return [self._text(value if isinstance(value, str) else repr(value))]

    def _text(self, text: str) -> nodes.container:
        block = nodes.literal_block(text, text, language="text")
        return nodes.container("", block, classes=["lens-output"])

    def _save(self, image: Image.Image) -> str:
        """Keep a picture beside the generated pages; its address from the root of the documents."""
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=88)
        name = f"generated/pictures/{sha256(buffer.getvalue()).hexdigest()[:16]}.webp"
        path = Path(self.env.srcdir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        return f"/{name}"


def _html(table: pd.DataFrame) -> str:
    """A table, with its index only where that says something."""
    numbered = isinstance(table.index, pd.RangeIndex)
    return table.to_html(border=0, classes="docutils", justify="left", index=not numbered)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive; pages that run code are read in one process."""
    app.add_directive("run", Run)
    return {"parallel_read_safe": False}
