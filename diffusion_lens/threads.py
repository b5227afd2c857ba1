"""How many cores there are, and how threads wait for work. Needs no torch, and counts before it is loaded.

OpenMP lets idle threads spin for long, on cores that another process may need: beside a busy process on
two cores, `show` took 62 s, and 8 s where they sleep at once. On a virtual machine to wake them takes its
time: 14 images of 20 steps took 5.1 s with long spinning, 6.6 to 8.4 s with none and 5.7 s with a short one
(1,000 rounds of GNU's library), which took 7.4 to 9.9 s beside a busy process, as none did (7.9 to 8.7 s).
So GNU's threads spin shortly, and those of LLVM and Intel, which measure that in milliseconds, not at all.
This is set in the processes that this package starts, unless the user has set how threads wait.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["children_wait_shortly", "count_cores", "wait_shortly"]

_WAITS = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
_SET_BY_USERS = ("OMP_WAIT_POLICY", *_WAITS)


def count_cores() -> int:
    """The cores that this process may use, by its affinity and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no Linux, or no quota: "max"
        return cores


def wait_shortly() -> None:
    """Let the threads of this process, and of those that it starts, spin but shortly while they wait."""
    if not any(name in os.environ for name in _SET_BY_USERS):
        os.environ.update(_WAITS)


@contextmanager
def children_wait_shortly() -> Iterator[None]:
    """Let the threads of processes that are started in the body spin but shortly while they wait."""
    before = {name: os.environ.get(name) for name in _WAITS}
    wait_shortly()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
