"""When Python looks for garbage: not while libraries are imported and models loaded, which is none."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_collection"]


@contextmanager
def without_collection() -> Iterator[None]:
    """Run the body without garbage collection, which takes a fifth of the time of importing and loading."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
