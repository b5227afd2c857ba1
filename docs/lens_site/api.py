"""Pages of the interface, a room each, from the docstrings of what a room lists as public."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import diffusion_lens

__all__ = ["api_pages"]

_ROOT = "diffusion_lens"


def api_pages() -> Iterator[tuple[str, str]]:
    """Name and text of each page, in reStructuredText; the first holds the list of the others."""
    package = Path(diffusion_lens.__file__).parent
    rooms = sorted(path.parent.name for path in package.glob("*/__init__.pyi"))
    top = list(diffusion_lens.__all__)
    listed = "\n".join(f"   {room}" for room in ["errors", *rooms, "testing"])
    yield (
        "api/index",
        f"{_title('Interface')}What most users need is in ``diffusion_lens`` itself. The rooms hold the "
        "rest, in the order of the data's flow only where a page says so.\n\n"
        f".. toctree::\n   :maxdepth: 1\n\n   {_ROOT}\n{listed}\n",
    )
    yield f"api/{_ROOT}", _page(_ROOT, top)
    shown = {id(getattr(diffusion_lens, name)) for name in top}
    for room in [*rooms, "testing"]:
        module = importlib.import_module(f"{_ROOT}.{room}")
        names = [name for name in module.__all__ if id(getattr(module, name)) not in shown]
        yield f"api/{room}", _page(f"{_ROOT}.{room}", names)
    yield "api/errors", _page(f"{_ROOT}.errors", [])


def _page(module: str, names: list[str]) -> str:
    """The classes and functions of a module, each from its docstring."""
    found = importlib.import_module(module)
    text = _title(module) + f".. automodule:: {module}\n   :no-members:\n\n"
    for name in names:
        thing = getattr(found, name)
        if inspect.isclass(thing):
            options = "" if issubclass(thing, Exception) else "   :members:\n"
            options += "   :inherited-members:\n" if _has_hidden_base(thing) else ""
            text += f".. autoclass:: {module}.{name}\n{options}\n"
        elif inspect.isfunction(thing):
            text += f".. autofunction:: {module}.{name}\n\n"
    return text


def _has_hidden_base(thing: type) -> bool:
    """Whether a class has a base that no room lists, so that its members are shown nowhere else."""
    for base in thing.__mro__[1:]:
        package, _, rest = base.__module__.partition(".")
        if package != _ROOT or issubclass(base, Exception):
            continue
        room = importlib.import_module(f"{_ROOT}.{rest.split('.')[0]}")
        if base.__name__ not in room.__all__:
            return True
    return False


def _title(name: str) -> str:
    return f"{name}\n{'=' * len(name)}\n\n"
