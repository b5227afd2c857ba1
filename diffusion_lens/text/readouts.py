"""The readouts by name: what is done to a hidden state before the pipeline is given it.

`native`, `final` and `none` are in `diffusion_lens.text.norm_readout`, and `tuned:FILE`, which maps a layer
to the native one first, is in `diffusion_lens.text.tuned`. A new one is a class that answers as `Readout`
does, and a row of `READOUTS`; its id is part of every cell that it reads.
"""

from collections.abc import Callable

from diffusion_lens.choices import POOLED
from diffusion_lens.errors import InputError, nearest
from diffusion_lens.text.norm_readout import NATIVE_READOUT, Norm, Readout
from diffusion_lens.text.tuned import Tuned

__all__ = ["READOUTS", "Readout", "check_pooled", "parse_readout"]


READOUTS: dict[str, Callable[[str], Readout]] = {
    "native": lambda _argument: NATIVE_READOUT,
    "final": lambda _argument: Norm("final"),
    "none": lambda _argument: Norm("none"),
    "tuned": Tuned.parse,
}
"""What makes a readout, by its name, from what is written after a colon."""

_BARE = ("native", "final", "none")  # which take nothing


def parse_readout(text: str) -> Readout:
    """A readout as it is written: `final`, or `NAME:ARGUMENT` for one that takes an argument.

    Raises:
        InputError: no readout of that name.
    """
    name, _, argument = text.partition(":")
    if name not in READOUTS or (argument and name in _BARE):
        raise InputError(
            f"{text!r} is no readout. Allowed: {', '.join(_BARE)}, tuned:FILE.{nearest(name, READOUTS)}"
        )
    return READOUTS[name](argument)


def check_pooled(pooled: str) -> None:
    """Refuse a pooled policy that does not exist."""
    if pooled not in POOLED:
        raise InputError(f"{pooled!r} is no pooled policy. Allowed: {', '.join(POOLED)}.")
