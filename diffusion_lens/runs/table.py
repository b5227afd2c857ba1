"""The table of images: one row type for a result in memory and for a run in a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from PIL import Image

from diffusion_lens.errors import ExperimentError
from diffusion_lens.files import IMAGE, image_cell, image_metadata
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.runs.plan import Cell, Plan
from diffusion_lens.text.reading import ResolvedReading

__all__ = [
    "COLUMNS",
    "IMAGE_COLUMNS",
    "VARIANT_COLUMNS",
    "DrawnCell",
    "Origin",
    "make_row",
    "rows_of",
    "schema_of",
]

IMAGE_COLUMNS = ("image", "upscaled")
_IDENTITY = {"cell": pa.string(), "prompt": pa.string()}
_REST = {
    "model": pa.string(),
    "revision": pa.string(),
    "encoder": pa.string(),
    "site": pa.string(),
    "layer": pa.int32(),
    "native": pa.bool_(),
    "identical": pa.bool_(),
    "readout": pa.string(),
    "pooled": pa.string(),
    "slots": pa.string(),
    "interventions": pa.string(),
    "edits": pa.string(),
    "seed": pa.int64(),
    "steps": pa.int32(),
    "guidance": pa.float64(),
    "height": pa.int32(),
    "width": pa.int32(),
    "negative_prompt": pa.string(),
    "scheduler": pa.string(),
    "options": pa.string(),
    "upscale": pa.string(),
    "approximations": pa.string(),
    "embeddings": pa.string(),
    "missing": pa.string(),
    "image": IMAGE,
    "batch": pa.int32(),
    "seconds": pa.float64(),
    "dtype": pa.string(),
    "device": pa.string(),
    "optimizations": pa.string(),
    "version": pa.string(),
    "torch": pa.string(),
    "diffusers": pa.string(),
    "commit": pa.string(),
}
COLUMNS: tuple[str, ...] = (*_IDENTITY, *_REST)
"""The columns that every table has, besides those that a user's prompts bring."""
VARIANT_COLUMNS = (
    "model",
    "encoder",
    "readout",
    "pooled",
    "slots",
    "interventions",
    "edits",
    "embeddings",
    "approximations",
)
"""What tells two images of one prompt, layer and seed apart."""
_SCALARS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}


@dataclass(frozen=True)
class Origin:
    """What all rows of one session have in common.

    Attributes:
        model: the model's name.
        revision: branch, tag or commit on the hub.
        settings: the resolved sampler settings, as columns.
        approximations: what was given up for speed; empty if nothing.
        dtype: the type that was computed in.
        optimizations: what was done for speed, of what may change the rounding.
        where: the device, and the versions of what drew it.
    """

    model: str
    revision: str | None
    settings: Mapping[str, Any]
    approximations: str
    dtype: str
    optimizations: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DrawnCell:
    """What became of a cell.

    Attributes:
        cell: the cell.
        image: the image, or already its bytes; None where there is none.
        missing: why there is no image, though it was drawn.
        failed: why it could not be drawn.
        batch: the images of its batch.
        seconds: its share of the batch's time.
        optimizations: what was done for speed, of what may change the rounding.
        where: the device, and the versions of what drew it.
    """

    cell: Cell
    image: Image.Image | bytes | None = None
    missing: str | None = None
    failed: str | None = None
    batch: int = 0
    seconds: float = 0.0
    optimizations: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)


def make_row(
    cell: str,
    prompt: Prompt,
    reading: ResolvedReading,
    seed: int,
    origin: Origin,
    *,
    embeddings: Mapping[str, str],
    edits: str = "",
    **outcome: Any,
) -> dict[str, Any]:
    """One row of the table; the only place where one is made.

    Args:
        cell: the cell's id.
        prompt: the prompt and what its user knows of it.
        reading: how it was read.
        seed: the seed.
        origin: what it shares with the rows beside it.
        embeddings: the learned embeddings in the prompt, a hash by token.
        edits: what says that its hidden states were changed by hand.
        outcome: `image`, `missing`, `batch`, `seconds` and, of two stages, `upscaled`.

    Returns:
        Every column but those of the run's schema that are None throughout. `identical` is computed
        here: a native reading, no intervention, no edit and no approximation.
    """
    return {
        "cell": cell,
        "prompt": prompt.prompt,
        **prompt.metadata,
        "model": origin.model,
        "revision": origin.revision,
        **reading.columns(),
        "identical": reading.identical and not edits and not origin.approximations,
        "edits": edits,
        "seed": seed,
        "upscale": None,
        **origin.settings,
        "approximations": origin.approximations,
        "embeddings": " ".join(map("=".join, embeddings.items())),
        **outcome,
        "dtype": origin.dtype,
        "optimizations": origin.optimizations,
        **origin.where,
    }


def schema_of(prompts: Sequence[Prompt]) -> pa.Schema:
    """The columns of a run: the cell, its prompt with the metadata, and all that made its image.

    Raises:
        ExperimentError: metadata of the name of another column.
    """
    kinds: dict[str, set[type]] = {}
    for prompt in prompts:
        for name, value in prompt.metadata.items():
            kinds.setdefault(name, set()).add(type(value))
    taken = [name for name in kinds if name in _IDENTITY or name in _REST]
    if taken:
        raise ExperimentError(
            f"The prompts have a column {taken[0]!r}, which every run has for something else. Rename it, "
            f"such as to {taken[0]}_of_prompt."
        )
    columns = {
        name: _SCALARS.get(next(iter(found)), pa.string()) if len(found) == 1 else pa.string()
        for name, found in kinds.items()
    }
    return pa.schema({**_IDENTITY, **columns, **_REST}, metadata=image_metadata(["image"]))


def rows_of(
    plan: Plan, drawn: Sequence[DrawnCell], images: Sequence[bytes | None], schema: pa.Schema
) -> pa.Table:
    """Rows of the table of a run.

    Args:
        plan: the plan that the cells belong to.
        drawn: what was drawn.
        images: the bytes of each image.
        schema: of `schema_of`.
    """
    approximations = str(plan.experiment.approximations)
    rows = []
    for one, image in zip(drawn, images, strict=True):
        prompt = plan.prompts[one.cell.prompt]
        metadata = {
            name: str(value) if schema.field(name).type == pa.string() else value
            for name, value in prompt.metadata.items()
        }
        rows.append(
            make_row(
                one.cell.id,
                Prompt(prompt.prompt, metadata),
                plan.reading(one.cell),
                one.cell.seed,
                Origin(
                    plan.experiment.model_name,
                    plan.experiment.revision,
                    plan.resolved.settings,
                    approximations,
                    plan.resolved.dtype,
                    one.optimizations,
                    one.where,
                ),
                embeddings=plan.resolved.embeddings_of(prompt.prompt),
                image=image_cell(image),
                missing=one.missing,
                batch=one.batch,
                seconds=one.seconds,
            )
        )
    return pa.Table.from_pylist(rows, schema)
