"""What later stages offer as methods of a result: found by name when it is called.

A result lies below scoring and analysis, and imports neither. Users still want one line in a notebook.
"""

import importlib
from typing import Any, Protocol, runtime_checkable

import pandas as pd

__all__ = ["Emergence", "call_later"]

_PLACES = {
    "score": ("diffusion_lens.scoring.score_result", "score_result"),
    "emergence": ("diffusion_lens.analysis.emergence_of", "emergence_in"),
}


@runtime_checkable
class Emergence(Protocol):
    """When a check turns right: `diffusion_lens.analysis.emergence_of.EmergenceOf`."""

    about: str
    question: str
    rates: pd.DataFrame
    times: pd.DataFrame

    @property
    def layer(self) -> int | None:
        """The layer from which on it is right in more than half of the seeds; None if there is none."""


def call_later(name: str, *arguments: Any, **options: Any) -> Any:
    """Call the function of a later stage that is behind a method."""
    module, function = _PLACES[name]
    return getattr(importlib.import_module(module), function)(*arguments, **options)
