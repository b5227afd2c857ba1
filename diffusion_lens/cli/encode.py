"""`diffusion-lens encode`: the conditionings of an experiment, as files."""

from typing import Annotated

from diffusion_lens.choices import Dtype
from diffusion_lens.cli.asked import OWN, Experiments, Study, read_asked
from diffusion_lens.cli.console import say, warn
from diffusion_lens.cli.options import Device, Overwrite, default, values
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
    model: Annotated[str | None, default(OWN, "MODEL")] = None,
    layers: Annotated[tuple[str, ...], values("LAYER", OWN)] = (),
    seeds: Annotated[tuple[int, ...], values("SEED", OWN)] = (),
    limit: Annotated[int | None, default("all prompts", "INT")] = None,
    steps: Annotated[int | None, default(OWN, "INT")] = None,
    guidance: Annotated[float | None, default(OWN, "NUMBER")] = None,
    device: Device = None,
    dtype: Annotated[Dtype | None, default(OWN, "DTYPE")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the text arguments of every image of an experiment as safetensors files, and draw nothing.

    `sweep --conditionings FOLDER` draws from them on another machine, without any text encoder, and other
    engines can read them: docs/conditionings.md describes the format.

    Args:
        experiment: One or more TOML files, as in `sweep`.
        out: The folder, or a URL that fsspec can open.
        model: The model whose text encoders read the prompts, as in `sweep`.
        layers: The layers, as in `show`.
        seeds: The seeds; all seeds of a prompt and layer share one conditioning.
        limit: How many of the prompts are encoded.
        steps: The number of denoising steps; an image's id depends on it.
        guidance: The guidance scale; an image's id depends on it.
        dtype: The type of the weights: float32, bfloat16 or float16.
    """
    from diffusion_lens.sweep.write_conditionings import encode_experiment

    machine = {"device": device, "dtype": dtype}
    asked, base = read_asked(
        experiment,
        study,
        limit,
        top={"model": model, "layers": layers, "seeds": seeds},
        sampler={"steps": steps, "guidance": guidance},
        machine=machine,
    )
    found = encode_experiment(asked, out, base=base, overwrite=overwrite)
    for reason, count in found.failed.items():
        warn(f"{count} cells have no conditioning: {reason}")
    size = f"{found.size / 1e6:.1f} MB"
    say(f"{out}: {found.conditionings} conditionings of {found.cells} cells, {size}")
