"""Rooms that work on saved data import without torch: scores and figures need no model."""

import pkgutil
import subprocess
import sys

import pytest

import diffusion_lens

# the probes read hidden states
HEAVY = {"diffusion_lens.analysis.probes"}


def modules(room: str) -> list[str]:
    """All modules of a room."""
    path = f"{next(iter(diffusion_lens.__path__))}/{room}"
    found = pkgutil.walk_packages([path], f"diffusion_lens.{room}.")
    return [module.name for module in found if module.name not in HEAVY]


@pytest.mark.parametrize("room", ["analysis", "checks", "figures", "runs"])
def test_a_room_of_saved_data_imports_without_torch(room):
    names = modules(room)
    assert len(names) > 3
    lines = [f"import {name}\nif 'torch' in sys.modules: sys.exit('{name}')" for name in names]
    code = "import sys\n" + "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
