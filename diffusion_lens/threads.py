"""How the threads of a process wait for work. Needs no torch, and counts before torch is loaded.

OpenMP lets idle threads spin: they hold the cores that another process needs. `OMP_WAIT_POLICY=passive`
lets them sleep; README.md says what it gains and costs. It is set in the processes that this package
starts, unless the user has set it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["passive_children", "wait_passively"]

_NAME, _VALUE = "OMP_WAIT_POLICY", "passive"


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
