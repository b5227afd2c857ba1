"""How many cores there are, and how threads wait for work. Needs no torch, and counts before it is loaded.

OpenMP lets idle threads spin: they hold the cores that another process needs. `OMP_WAIT_POLICY=passive`
lets them sleep. Beside a busy process on two cores, `show` took 62 s without it and 8 s with it; on a
quiet machine 6.8 s became 7.0 s. It is set in the processes that this package starts, unless the user has
set it; a notebook sets it before torch is loaded.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["count_cores", "passive_children", "wait_passively"]

_NAME, _VALUE = "OMP_WAIT_POLICY", "passive"


def count_cores() -> int:
    """The cores that this process may use, by its affinity and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no Linux, or no quota: "max"
        return cores


def wait_passively() -> None:
    """Let the threads of this process, and of those that it starts, sleep while they wait."""
    os.environ.setdefault(_NAME, _VALUE)


@contextmanager
def passive_children() -> Iterator[None]:
    """Let the threads of processes that are started in the body sleep while they wait."""
    if _NAME in os.environ:
        yield
        return
    os.environ[_NAME] = _VALUE
    try:
        yield
    finally:
        os.environ.pop(_NAME, None)
