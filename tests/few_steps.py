"""Embedded models that draw with few denoising steps: for what is only to be run, and never judged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from diffusion_lens.models.embedded import EMBEDDED


@contextmanager
def few_steps(steps: int) -> Iterator[None]:
    """Embedded models that are loaded in the body draw with so many steps by default."""
    with pytest.MonkeyPatch.context() as patch:
        for name, model in list(EMBEDDED.items()):
            patch.setitem(EMBEDDED, name, replace(model, steps=steps))
        yield
