"""What is public: each room lists it, other rooms import nothing else, and some rooms need no torch."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import diffusion_lens

PACKAGE = Path(diffusion_lens.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.pyi"))
WITHOUT_TORCH = ("analysis", "checks", "figures", "pages", "runs")


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


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_rooms_of_data_are_imported_without_torch(room):
    modules = [
        f"diffusion_lens.{room}.{path.stem}"
        for path in (PACKAGE / room).glob("*.py")
        if path.stem != "__init__"
    ]
    code = f"import sys, {', '.join(modules)}\nassert 'torch' not in sys.modules"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_importing_the_package_is_instant_and_lists_what_is_public():
    code = (
        "import sys, diffusion_lens as d\n"
        "assert {'DiffusionLens', 'Reading', 'run_sweep', 'analyse', '__version__'} <= set(dir(d))\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
