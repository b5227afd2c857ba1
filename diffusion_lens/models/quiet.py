"""Silence for the libraries where they talk about what the package handles itself."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_libraries"]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the notes and loading bars of diffusers and transformers.

    diffusers imports image processors that prefer torchvision, which nothing here uses, and transformers
    notes that at every import; bars of a second's loading only clutter; and both tell at each pass that a
    prompt was cut, which the lens says once, with the words.
    """
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (transformers_logging, diffusers_logging)
    before = [(one.get_verbosity(), one.is_progress_bar_enabled()) for one in libraries]
    for one in libraries:
        one.set_verbosity_error()
        one.disable_progress_bar()
    try:
        yield
    finally:
        for one, (verbosity, bars) in zip(libraries, before, strict=True):
            one.set_verbosity(verbosity)
            if bars:
                one.enable_progress_bar()
