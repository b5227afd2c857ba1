"""Ray draws what the local engine draws, whichever workers are lost."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.sweep.helpers import assert_a_lost_worker_loses_nothing

pytestmark = [
    # not imported here: each process of tests would, in seconds
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
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
    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default they wait for all other tests


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
    assert_a_lost_worker_loses_nothing(emoji, tmp_path, find_workers, "ray")
