"""Libraries kept from printing what the package reports or handles itself."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["drop_torchvision_notes", "quiet_libraries"]


def drop_torchvision_notes() -> None:
    """Drop transformers' notes that torchvision is not installed, for the rest of the process.

    diffusers imports image processors that prefer torchvision, which nothing here uses, and transformers
    notes each. For processes that are the package's own; needs neither library to be loaded.
    """
    logging.getLogger("transformers.utils.import_utils").addFilter(_without_torchvision)


def _without_torchvision(record: logging.LogRecord) -> bool:
    return "requires torchvision (not installed)" not in record.getMessage()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Run the body without the notes and loading bars of diffusers, transformers and the hub.

    Among them those of `drop_torchvision_notes`; bars of a second's loading, which only clutter (those of
    downloads stay); and that a prompt was cut, which the lens says once, with the words.
    """
    from diffusers.utils import logging as diffusers_logging
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as transformers_logging

    talkers = (transformers_logging, diffusers_logging, hub_logging)
    loaders = (transformers_logging, diffusers_logging)
    # to set a level empties what all loggers know of theirs, of which there are thousands
    talking = [(one, one.get_verbosity()) for one in talkers if one.get_verbosity() != logging.ERROR]
    bars = [one.is_progress_bar_enabled() for one in loaders]
    for one, _ in talking:
        one.set_verbosity_error()
    for one in loaders:
        one.disable_progress_bar()
    try:
        yield
    finally:
        for one, before in talking:
            one.set_verbosity(before)
        for one, shown in zip(loaders, bars, strict=True):
            if shown:
                one.enable_progress_bar()
