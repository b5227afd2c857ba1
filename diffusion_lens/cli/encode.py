"""`diffusion-lens encode`: the conditionings of an experiment, as files."""

from typing import Annotated

from diffusion_lens.cli.asked import Experiments, Overrides, Study, read_asked
from diffusion_lens.cli.console import say, warn
from diffusion_lens.cli.options import Overwrite, default
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["encode"]


@verb(
    "encode",
    Topic.STUDY,
    examples=[
        "diffusion-lens encode experiments/relations.toml --out conditionings",
        "diffusion-lens sweep experiments/relations.toml --conditionings conditionings",
    ],
)
def encode(
    experiment: Experiments = (),
    /,
    study: Study = (),
    out: Annotated[str, default("conditionings", "FOLDER")] = "conditionings",
    overwrite: Overwrite = False,
    overrides: Overrides = Overrides(),
) -> None:
    """Write the text arguments of every image of an experiment as safetensors files, and draw nothing.

    `sweep --conditionings FOLDER` draws from them on another machine, without any text encoder, and other
    engines can read them: docs/conditionings.md describes the format. Give the sampler settings that will
    be drawn with: an image's id depends on them. All seeds of a prompt and layer share one conditioning.

    Args:
        experiment: One or more TOML files, as in `sweep`.
        out: The folder, or a URL that fsspec can open.
    """
    from diffusion_lens.sweep.write_conditionings import encode_experiment

    asked, base = read_asked(experiment, study, overrides)
    found = encode_experiment(asked, out, base=base, overwrite=overwrite)
    for reason, count in found.failed.items():
        warn(f"{count} cells have no conditioning: {reason}")
    size = f"{found.size / 1e6:.1f} MB"
    say(f"{out}: {found.conditionings} conditionings of {found.cells} cells, {size}")
