"""An experiment as a command asks for it: its files, with the options laid over them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from diffusion_lens.cli.options import values

if TYPE_CHECKING:
    from diffusion_lens.runs.experiment import Experiment

__all__ = ["OWN", "Experiments", "Study", "read_asked"]

OWN = "the experiment's own"
Experiments = Annotated[
    tuple[Path, ...],
    tyro.conf.Positional,
    tyro.conf.arg(metavar="EXPERIMENT [EXPERIMENT ...]", help_behavior_hint=""),
]
Study = Annotated[
    tuple[str, ...],
    values(
        "NAME",
        "the files named",
        "Studies that come with the package: relations, or paper/relations and models/sdxl. Files that are "
        "named as well override them.",
    ),
]


def read_asked(
    files: Sequence[Path], study: Sequence[str] = (), limit: int | None = None, **tables: Mapping[str, Any]
) -> tuple["Experiment", Path]:
    """The experiment, and where its relative paths start.

    Args:
        files: TOML files, of which a later one overrides an earlier one.
        study: names of studies that come with the package, which the files override.
        limit: how many of the prompts are drawn; all if None.
        tables: values that override the files', by table: `sampler`, `machine`, or `top` for those of no
            table. A value that is None or empty was not given.

    Raises:
        ExperimentError: a file can't be read, or a value can't be.
    """
    from diffusion_lens.runs.experiment import Experiment
    from diffusion_lens.runs.experiment_files import find_study, load_experiments

    data, base = load_experiments([*map(find_study, study), *files])
    for table, flags in tables.items():
        given = {name: value for name, value in flags.items() if value not in (None, ())}
        target = data if table == "top" else data.setdefault(table, {}) if given else {}
        if isinstance(target, dict):  # anything else is refused when it is read
            target.update(given)
    if limit is not None:
        listed = data.get("prompts")
        data["prompts"] = {**({"inline": listed} if isinstance(listed, list) else listed or {})}
        data["prompts"]["limit"] = limit
    return Experiment.from_dict(data), base
