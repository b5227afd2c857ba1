"""Scorers by name: each module of `scoring.scorers` registers its own, and so may other packages.

A scorer is one file: a frozen dataclass of settings, a class, and a function that makes one from the other:

    @register("blur", "how blurred an image is", BlurSettings)
    def make(settings: BlurSettings, device: str) -> list[Scorer]:
        return [BlurScorer(settings)]

The file lies in `diffusion_lens/scoring/scorers/`, or in a package that names its module as an entry point:

    [project.entry-points."diffusion_lens.scorers"]
    blur = "my_package.blur"

One that computes on no device of this machine says `on_device=False`: its refusals then wait for no torch.
Command line, experiments, help and errors list what is registered here. Modules are imported to be listed,
so they import torch and other heavy packages only inside functions.
"""

import importlib
import logging
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from diffusion_lens.errors import ScorerError
from diffusion_lens.runs.toml import read_dataclass
from diffusion_lens.scoring.scorer import Scorer

__all__ = [
    "NoSettings",
    "Registration",
    "check_names",
    "make_scorers",
    "read_settings",
    "register",
    "scorers",
]

log = logging.getLogger(__name__)

GROUP = "diffusion_lens.scorers"
S = TypeVar("S")
Make = Callable[[S, str], Sequence[Scorer]]


@dataclass(frozen=True)
class NoSettings:
    """Settings of a scorer that has none."""


@dataclass(frozen=True)
class Registration:
    """A scorer that can be asked for by name.

    Attributes:
        name: the name.
        summary: what it is, in a few words for help texts.
        settings: the dataclass of its settings, all of which have defaults.
        make: makes the scorer, or several that belong together, from settings and a device.
        on_device: whether it computes on a device, which need not be chosen otherwise.
    """

    name: str
    summary: str
    settings: type[Any]
    make: Callable[[Any, str], Sequence[Scorer]]
    on_device: bool = True


_REGISTERED: dict[str, Registration] = {}


def register(
    name: str,
    summary: str,
    settings: type[S] = NoSettings,  # type: ignore[assignment]
    *,
    on_device: bool = True,
) -> Callable[[Make[S]], Make[S]]:
    """Register the function that makes a scorer; see the module.

    Raises:
        ScorerError: another function has this name.
    """

    def add(make: Make[S]) -> Make[S]:
        known = _REGISTERED.get(name)
        if known is not None and known.make.__module__ != make.__module__:
            raise ScorerError(
                f"Two scorers are called {name!r}, of {known.make.__module__} and {make.__module__}. "
                "Rename one."
            )
        _REGISTERED[name] = Registration(name, summary, settings, make, on_device)
        return make

    return add


@cache
def _load() -> None:
    from diffusion_lens.scoring import scorers as package

    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # another package's fault must not take ours with it
            log.warning("The scorer %s of %s can't be loaded: %r.", entry.name, entry.value, error)


def scorers() -> Mapping[str, Registration]:
    """All registered scorers by name, in alphabetical order."""
    _load()
    return dict(sorted(_REGISTERED.items()))


def check_names(names: Sequence[str]) -> None:
    """Refuse names of scorers that are not registered.

    Raises:
        ScorerError: one is not; the nearest name and all names are said.
    """
    known = scorers()
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ScorerError(f"There is no scorer {name!r}.{hint} Scorers are {', '.join(known)}.")


def read_settings(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of scorers, from the tables of an experiment.

    Raises:
        ScorerError: a table is of no scorer.
        ExperimentError: a setting that the scorer does not have, or of another type.
    """
    check_names(list(tables))
    return {
        name: read_dataclass(scorers()[name].settings, table, f"scorer.{name}")
        for name, table in tables.items()
    }


def make_scorers(
    names: Sequence[str], settings: Mapping[str, Any] | None = None, device: str = "cpu"
) -> tuple[list[Scorer], dict[str, str]]:
    """Make scorers.

    Args:
        names: names of registered scorers.
        settings: settings by scorer; defaults for those left out.
        device: where their models run: cpu, cuda, cuda:1, mps.

    Returns:
        The scorers, and of those that can't be made, why and what to do.

    Raises:
        ScorerError: there is no scorer of such a name.
    """
    check_names(names)
    made: list[Scorer] = []
    failed: dict[str, str] = {}
    for name in dict.fromkeys(names):
        entry = scorers()[name]
        try:
            made += entry.make((settings or {}).get(name, entry.settings()), device)
        except ScorerError as error:
            failed[name] = str(error)
    return made, failed
