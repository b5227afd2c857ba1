"""The table of a run: its columns, and its images as bytes."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from PIL import Image

from diffusion_lens.errors import ExperimentError
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.runs.plan import Cell, Plan

__all__ = ["Made", "encode_image", "rows_of", "schema_of"]

_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
_IDENTITY = {
    "cell": pa.string(), "prompt": pa.string(),
}  # fmt: skip
_REST = {
    "model": pa.string(), "revision": pa.string(), "encoder": pa.string(), "layer": pa.int32(),
    "native": pa.bool_(), "identical": pa.bool_(), "readout": pa.string(), "pooled": pa.string(),
    "slots": pa.string(), "seed": pa.int64(), "steps": pa.int32(), "guidance": pa.float64(),
    "height": pa.int32(), "width": pa.int32(), "negative_prompt": pa.string(),
    "scheduler": pa.string(), "options": pa.string(), "missing": pa.string(), "image": _IMAGE,
    "batch": pa.int32(), "seconds": pa.float64(), "dtype": pa.string(), "device": pa.string(),
    "optimizations": pa.string(), "version": pa.string(), "torch": pa.string(), "diffusers": pa.string(),
    "commit": pa.string(), "approximations": pa.string(), "words": pa.string(),
}  # fmt: skip
_SCALARS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}


@dataclass(frozen=True)
class Made:
    """What became of a cell.

    Attributes:
        cell: the cell.
        image: the picture, or already its bytes; None where there is none.
        missing: why there is no picture, though it was drawn.
        failed: why it could not be drawn.
        batch: the images of its batch.
        seconds: its share of the batch's time.
        optimizations: what was done for speed, of what may change images.
        where: the device, and the versions of what drew it.
    """

    cell: Cell
    image: Image.Image | bytes | None = None
    missing: str | None = None
    failed: str | None = None
    batch: int = 0
    seconds: float = 0.0
    optimizations: str = ""
    where: Mapping[str, Any] | None = None


def encode_image(image: Image.Image, kind: str) -> bytes:
    """Lossless bytes of a picture, at the setting that is fastest for its size: "png" or "webp"."""
    buffer = io.BytesIO()
    if kind == "webp":
        image.save(buffer, "WEBP", lossless=True, method=0)
    else:
        image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


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
            f"The prompts have a column {taken[0]!r}, which every run has for something else. Rename it."
        )
    columns = {
        name: _SCALARS.get(next(iter(found)), pa.string()) if len(found) == 1 else pa.string()
        for name, found in kinds.items()
    }
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    return pa.schema(
        {**_IDENTITY, **columns, **_REST}, metadata={b"huggingface": json.dumps(features).encode()}
    )


def rows_of(
    plan: Plan, made: Sequence[Made], images: Sequence[bytes | None], schema: pa.Schema
) -> pa.Table:
    """Rows of the table.

    Args:
        plan: the plan that the cells belong to.
        made: what was drawn.
        images: the bytes of each picture.
        schema: of `schema_of`.
    """
    rows = []
    for one, image in zip(made, images, strict=True):
        cell = one.cell
        prompt, view = plan.prompts[cell.prompt], plan.resolved.views[cell.view]
        rows.append(
            {
                "cell": cell.id,
                "prompt": prompt.prompt,
                **{
                    name: str(value) if schema.field(name).type == pa.string() else value
                    for name, value in prompt.metadata.items()
                },
                "model": plan.experiment.model,
                "revision": plan.experiment.revision,
                **view.columns,
                "layer": cell.layer,
                "native": cell.native,
                "identical": cell.native and view.identical,
                "seed": cell.seed,
                **plan.resolved.settings,
                "missing": one.missing,
                "image": None if image is None else {"bytes": image, "path": None},
                "batch": one.batch,
                "seconds": one.seconds,
                "dtype": plan.resolved.dtype,
                "optimizations": one.optimizations,
                "approximations": str(plan.experiment.approximations),
                "words": " ".join(map("=".join, plan.resolved.words_of(prompt.prompt).items())),
                **(one.where or {}),
            }
        )
    return pa.Table.from_pylist(rows, schema)
