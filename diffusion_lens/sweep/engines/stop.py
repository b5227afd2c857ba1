"""Ctrl-C, and the signal of a cluster that wants its machine back: stop after the batch."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["use_stop"]


@contextmanager
def use_stop() -> Iterator[Callable[[], bool]]:
    """While the body runs, the first SIGINT or SIGTERM only asks to stop; a second acts as ever.

    Yields:
        Whether it was asked to. Outside the main thread, where Python takes no signals, it never is.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        restore()
