"""Ray draws what the local engine draws, whichever workers are lost."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusion_lens.lens.word_files import write_word
from diffusion_lens.lens.words import initial_word
from diffusion_lens.sweep.run import run_sweep
from tests.sweep.helpers import make, read, same

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.xdist_group("ray"),
    # of Ray's own processes and sockets
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def workers_see_this_checkout(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.getcwd())


def find_workers() -> Iterator[int]:
    """The processes of this test's actors that have begun to draw."""
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "cmdline").read_bytes().startswith(b"ray::Actor.draw"):
                environment = (folder / "environ").read_bytes()
                if f"PYTEST_RAY={os.getpid()}".encode() in environment:
                    yield int(folder.name)
        except OSError:
            continue


def test_two_workers_of_which_one_is_killed_draw_the_same_table(emoji, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_RAY", str(os.getpid()))
    write_word(tmp_path / "it.safetensors", initial_word(emoji.pipeline, "<it>"), emoji.pipeline)
    experiment = make(
        model="emoji",
        prompts=["a red fox", "a <it> at night", "two dogs"],
        embeddings=[str(tmp_path / "it.safetensors")],
        layers=["all"],
        seeds=[0, 1, 2, 3],
        sampler={"steps": 8},
        machine={"batch_size": 4},
    )
    killed = []

    def kill_one():
        end = time.monotonic() + 120
        while not killed and time.monotonic() < end:
            for pid in find_workers():
                if (tmp_path / "ray/images").exists():  # something is drawn and written
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    break
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    summary = run_sweep(
        experiment, tmp_path / "ray", lens=emoji, progress=False, engine="ray", workers=2, part_rows=4
    )
    killer.join()
    assert killed
    assert (summary.drawn, summary.failed, summary.left) == (84, {}, 0)
    run_sweep(experiment, tmp_path / "local", lens=emoji, progress=False)
    same(read(tmp_path / "ray"), read(tmp_path / "local"))
