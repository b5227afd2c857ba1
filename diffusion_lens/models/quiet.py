"""Silence for the libraries where they talk about what the package handles itself."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_libraries"]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the notes and loading bars of diffusers and transformers, and the hub's on each try.

    diffusers imports image processors that prefer torchvision, which nothing here uses, and transformers
    notes that at every import; bars of a second's loading only clutter (those of downloads stay); and both
    tell at each pass that a prompt was cut, which the lens says once, with the words.
    """
    from diffusers.utils import logging as diffusers_logging
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as transformers_logging

    talkers = (transformers_logging, diffusers_logging, hub_logging)
    loaders = (transformers_logging, diffusers_logging)
    verbosity = [one.get_verbosity() for one in talkers]
    bars = [one.is_progress_bar_enabled() for one in loaders]
    for one in talkers:
        one.set_verbosity_error()
    for one in loaders:
        one.disable_progress_bar()
    try:
        yield
    finally:
        for one, before in zip(talkers, verbosity, strict=True):
            one.set_verbosity(before)
        for one, shown in zip(loaders, bars, strict=True):
            if shown:
                one.enable_progress_bar()
