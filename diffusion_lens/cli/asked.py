"""An experiment as a command asks for it: its files, with the options laid over them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from diffusion_lens.choices import Compile, Dtype
from diffusion_lens.cli.options import default, values

if TYPE_CHECKING:
    from diffusion_lens.runs.experiment import Experiment

__all__ = ["DrawingOverrides", "Experiments", "Overrides", "Study", "read_asked"]

_OWN = "the experiment's own"
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


@dataclass(frozen=True)
class Overrides:
    """Values that override those of the files.

    Attributes:
        model: An embedded model, a folder in diffusers format, or a model id of the hub.
        layers: The layers, as in `show`.
        seeds: The seeds; each gives one image of each prompt and layer.
        limit: How many of the prompts are taken.
        steps: The number of denoising steps.
        guidance: The guidance scale.
        device: The device that the model runs on: cpu, cuda, cuda:1 or mps.
        dtype: The type of the weights: float32, bfloat16 or float16.
    """

    model: Annotated[str | None, default(_OWN, "MODEL")] = None
    layers: Annotated[tuple[str, ...], values("LAYER", _OWN)] = ()
    seeds: Annotated[tuple[int, ...], values("SEED", _OWN)] = ()
    limit: Annotated[int | None, default("all prompts", "INT")] = None
    steps: Annotated[int | None, default(_OWN, "INT")] = None
    guidance: Annotated[float | None, default(_OWN, "NUMBER")] = None
    device: Annotated[str | None, default(_OWN, "DEVICE")] = None
    dtype: Annotated[Dtype | None, default(_OWN, "DTYPE")] = None


@dataclass(frozen=True)
class DrawingOverrides(Overrides):
    """Values that override those of the files.

    Attributes:
        encoders: The encoders whose layers are drawn, one after the other; with all, the encoders move
            together.
        readouts: The readouts: native, final, none or tuned:FILE, as in `show`.
        batch_size: How many images are denoised together.
        compile: Compile the denoiser. auto does so on CUDA where the plan is long enough to win.
        scorers: The scorers that judge the images once they are drawn; `score` describes them.
    """

    encoders: Annotated[tuple[str, ...], values("ENCODER", _OWN)] = ()
    readouts: Annotated[tuple[str, ...], values("READOUT", _OWN)] = ()
    batch_size: Annotated[int | None, default(_OWN, "INT")] = None
    compile: Annotated[Compile | None, default(_OWN)] = None
    scorers: Annotated[tuple[str, ...], values("SCORER", _OWN)] = ()


# the tables of an experiment's file that values stand in; others stand in none
_TABLES = {
    "sampler": ("steps", "guidance"),
    "machine": ("device", "dtype", "batch_size", "compile"),
    "prompts": ("limit",),
}


def read_asked(
    files: Sequence[Path], study: Sequence[str], overrides: Overrides
) -> "tuple[Experiment, Path]":
    """The experiment, and where its relative paths start.

    Args:
        files: TOML files, of which a later one overrides an earlier one.
        study: names of studies that come with the package, which the files override.
        overrides: values that override the files'. One that is None or empty was not given.

    Raises:
        ExperimentError: a file can't be read, or a value can't be.
    """
    from diffusion_lens.runs.experiment import Experiment
    from diffusion_lens.runs.experiment_files import find_study, load_experiments

    data, base = load_experiments([*map(find_study, study), *files])
    given = {name: value for name, value in asdict(overrides).items() if value not in (None, ())}
    if "limit" in given and isinstance(data.get("prompts"), list):
        data["prompts"] = {"inline": data["prompts"]}
    for table, names in _TABLES.items():
        of_table = {name: given.pop(name) for name in names if name in given}
        target = data.setdefault(table, {}) if of_table else {}
        if isinstance(target, dict):  # anything else is refused when it is read
            target.update(of_table)
    data.update(given)
    return Experiment.from_dict(data), base
