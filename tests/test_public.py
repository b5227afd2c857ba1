"""What is public: each room lists it, and other rooms import nothing else."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import diffusion_lens

PACKAGE = Path(diffusion_lens.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.pyi"))


def imports(source: str) -> Iterator[tuple[str, str]]:
    """Module and name of each absolute import from this package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffusion_lens."):
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_lists_is_there(room):
    module = importlib.import_module(f"diffusion_lens.{room}")
    assert module.__doc__ and module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None, name


def test_rooms_import_from_each_other_only_what_is_public():
    listed = {room: set(importlib.import_module(f"diffusion_lens.{room}").__all__) for room in ROOMS}
    hidden = set()
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0]
        for module, name in imports(path.read_text(encoding="utf-8")):
            parts = module.split(".")[1:]
            room = parts[0]
            if room == own or room not in listed or len(parts) < 2:
                continue
            modules = {one.stem for one in (PACKAGE / room).rglob("*")}
            # a name that a module of the room has as well can't be listed: it would hide the module
            if name not in listed[room] and name not in modules:
                hidden.add(f"{path.relative_to(PACKAGE)}: {module}.{name}")
    assert not hidden
