"""Runs of scenes drawn from sprites: real stores whose every picture is known, made without a model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from diffusion_lens.checks.checks import Check
from diffusion_lens.runs.experiment import Experiment, Prompt
from diffusion_lens.runs.manifest import describe_plan
from diffusion_lens.runs.plan import Cell, Plan, Resolved, make_plan
from diffusion_lens.runs.store import Store
from diffusion_lens.runs.table import DrawnCell
from diffusion_lens.runs.writer import Writer
from diffusion_lens.scoring.scorer import ScoreRequest, Source
from diffusion_lens.testbed.captions import imagine, parse
from diffusion_lens.testbed.scenes import render
from diffusion_lens.text.reading import Reading, ResolvedReading
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.sites import Site

SETTINGS = {
    "steps": 2,
    "guidance": 1.0,
    "height": None,
    "width": None,
    "negative_prompt": None,
    "scheduler": "none",
    "options": "{}",
}


def requests(
    images: Sequence[Image.Image], checks: Sequence[Sequence[Check]], model: str | None = None
) -> list[ScoreRequest]:
    """What a scorer is asked of each image; of no recorded model, unless one is named."""
    return [
        ScoreRequest(image, of_image, source=Source(model))
        for image, of_image in zip(images, checks, strict=True)
    ]


Draw = Callable[[Cell, str], Image.Image | DrawnCell | None]


def scene(caption: str, side: int = 64) -> Image.Image:
    """A picture of which a caption is true."""
    stated = parse(caption)
    assert stated is not None
    return Image.fromarray(render(imagine(stated, 0), side))


def make_run(
    folder: Path,
    prompts: Sequence[str | tuple[str, dict[str, Any]]],
    draw: Draw,
    *,
    layers: Sequence[int] = (0, 1, 2),
    seeds: Sequence[int] = (0, 1),
    readouts: Sequence[str] = ("native",),
    model: str = "emoji",
    noise: str = "shared",
) -> Plan:
    """Write a run whose pictures `draw` gives; it returns None for cells that are not drawn yet."""
    listed = [Prompt(one, {}) if isinstance(one, str) else Prompt(*one) for one in prompts]
    experiment = Experiment.from_dict(
        {"model": model, "prompts": [one.prompt for one in listed], "seeds": list(seeds), "noise": noise}
    )
    readings = tuple(
        ResolvedReading(
            Reading("text_encoder", Site(layer), parse_readout(readout)),
            layer,
            native=False,
            identical=False,
            depth=max(layers),
            moving=("text_encoder",),
            positions={"text_encoder": (max(layers),)},
            sources={"text_encoder": (layer,)},
        )
        for readout in readouts
        for layer in layers
    )
    plan = make_plan(experiment, listed, Resolved(readings, SETTINGS, "made", "float32", 4))
    store = Store(folder)
    store.write_json("manifest.json", describe_plan(plan))
    with Writer(store, plan, part_rows=5) as writer:
        for cell in plan.cells:
            made = draw(cell, listed[cell.prompt].prompt)
            if isinstance(made, Image.Image):
                made = DrawnCell(cell, made)
            if made is not None:
                writer.add([made])
    return plan
