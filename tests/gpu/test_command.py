"""The prepared command for a GPU, at tiny size on the CPU."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.command_line import run

SCRIPT = Path(__file__).parents[2] / "experiments" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_all_parts_fit_into_eleven_minutes(gpu: ModuleType, tmp_path: Path) -> None:
    parts = gpu.prepare(tmp_path, tiny=False)
    assert sum(part.limit for part in parts) <= 11 * 60
    assert [part.name for part in parts] == ["tests", "bench-sd21", "bench-sdxl", "bench-flux", "recipe"]


def test_a_part_that_fails_or_takes_too_long_leaves_the_others(gpu: ModuleType, tmp_path: Path) -> None:
    failing = gpu.Part("failing", 60, (sys.executable, "-c", "print('hello'); raise SystemExit(3)"))
    endless = gpu.Part("endless", 1, (sys.executable, "-c", "import time; time.sleep(60)"))
    assert gpu.run(failing, tmp_path)["exit"] == 3
    assert (tmp_path / "failing.log").read_text() == "hello\n"
    assert gpu.run(endless, tmp_path)["exit"] is None


def test_tests_run_at_tiny_size(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--size", "tiny", "--only", "tests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    logs = "".join(path.read_text()[-2000:] for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, logs
    ended = json.loads((tmp_path / "parts.json").read_text())
    assert [(one["name"], one["exit"]) for one in ended] == [("tests", 0)]
    assert "1 passed" in (tmp_path / "tests.log").read_text()


def test_training_runs_at_tiny_size(gpu: ModuleType, tmp_path: Path) -> None:
    part = gpu.prepare(tmp_path, tiny=True)[-1]
    program, arguments = part.command[:3], part.command[3:]
    assert program == (sys.executable, "-m", "diffusion_lens")
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "recipe" / "emoji" / "unet" / "config.json").exists()


def test_unknown_parts_are_told(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--only", "dance"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no part dance; there are tests, bench-sd21" in done.stderr
