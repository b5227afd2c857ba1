"""The template engine of all pages: what is put into a page is escaped, and nothing undefined is silent."""

import math
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["asset", "environment", "render"]


@cache
def environment() -> Environment:
    """The environment with the filters that templates use."""
    made = Environment(
        loader=PackageLoader("diffusion_lens.pages", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["inline"] = lambda name: Markup(asset(name))
    made.filters["number"] = number
    return made


def asset(name: str) -> str:
    """The text of a style sheet or script of the package."""
    return files("diffusion_lens.pages").joinpath("html").joinpath(name).read_text(encoding="utf-8")


def render(name: str, **values: Any) -> str:
    """A page from a template."""
    return environment().get_template(name).render(**values)


def number(value: float | None, form: str = ".2f") -> str:
    """A number as text; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return format(value, form)
