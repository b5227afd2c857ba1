"""A table of images as the rows and columns of a grid: what stands in a row, and what it is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.runs.table import VARIANT_COLUMNS
from diffusion_lens.text.reading import Reading

__all__ = [
    "GridRow",
    "Order",
    "column_labels",
    "difference_image",
    "differing",
    "grid_columns",
    "grid_rows",
    "grid_title",
    "join_title",
    "shared_reading",
]

Order = Literal["prompt", "seed"]


@dataclass(frozen=True)
class GridRow:
    """Images that differ by the layer alone.

    Attributes:
        prompt: their prompt.
        seed: their seed.
        reading: what further tells them from other rows; empty if nothing does.
        images: by column label; None where an image is missing.
        missing: why, by column label.
        said: what the drawn state says in words, by column label; empty where it was not asked.
    """

    prompt: str
    seed: int
    reading: str
    images: dict[str, Image.Image | None]
    missing: dict[str, str]
    said: dict[str, str]

    def label(self, *, prompt: bool) -> str:
        """What the row is called.

        Args:
            prompt: whether the prompt is a part of it.
        """
        parts = [self.prompt if prompt else "", self.reading, f"seed {self.seed}"]
        return ", ".join(part for part in parts if part)


def grid_columns(table: pd.DataFrame, layers: Sequence[int | str] | None = None) -> list[str]:
    """The labels of a table's layers, in order.

    Args:
        table: rows with `layer`, `native` and perhaps `site`.
        layers: only these: numbers, sites, or "native".

    Raises:
        InputError: there is no such layer.
    """
    known = table.assign(_column=column_labels(table)).drop_duplicates("_column")
    known = known.sort_values(["layer", "native", "_column"])
    names = {
        str(row["_column"]): (int(row["layer"]), bool(row["native"])) for row in known.to_dict("records")
    }
    if layers is None:
        return list(names)
    chosen = []
    for asked in layers:
        fits = [
            name
            for name, (layer, native) in names.items()
            if (native if asked == "native" else str(asked) in (name, str(layer)))
        ]
        if not fits:
            raise InputError(f"There is no layer {asked!r}. There are: {'; '.join(names)}.")
        chosen += fits
    return list(dict.fromkeys(chosen))


def column_labels(table: pd.DataFrame) -> "pd.Series[str]":
    """The label of the column that each row's image stands in: "3", "6, native" or "6.attn"."""
    layer = table["layer"].astype(str)
    site = table["site"].astype(str) if "site" in table else layer
    labels: pd.Series[str] = site.where(site != "native", layer)
    return labels + table["native"].map({True: ", native", False: ""})


def differing(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """The columns of a reading whose values are not the same in two tables."""
    shared = [name for name in VARIANT_COLUMNS if name in first and name in second]
    return [name for name in shared if set(first[name].dropna()) != set(second[name].dropna())]


def shared_reading(table: pd.DataFrame) -> str:
    """How all images of a table were made, as far as it is not the default: what no row's label says.

    The model and the encoder are left out, and learned words, which prompts name themselves.

    Args:
        table: the table of a result.
    """
    plain = Reading().columns()
    parts = []
    for name in VARIANT_COLUMNS:
        if name in ("model", "encoder", "embeddings") or name not in table:
            continue
        values = table[name].unique()
        if len(values) == 1 and values[0] and values[0] != plain.get(name):
            parts.append(f"{name} {values[0]}")
    return ", ".join(parts)


def grid_title(table: pd.DataFrame) -> str:
    """What stands above the grid of a table: its prompt, where there is one, and what all images share."""
    prompts, encoder = table["prompt"].unique(), table["encoder"].iloc[0]
    layers = f"layer of {encoder}" if encoder != "all" else "layer (all encoders in step)"
    return join_title(prompts[0] if len(prompts) == 1 else "", layers, shared_reading(table))


def join_title(*parts: str) -> str:
    """What stands above a sheet, of parts that may be empty."""
    return " | ".join(part for part in parts if part)


def grid_rows(table: pd.DataFrame, order: Order = "prompt", named: Sequence[str] = ()) -> list[GridRow]:
    """The rows of a grid; no image of the table is left out.

    Args:
        table: the table of a result.
        order: "prompt": all seeds of a prompt together; "seed": all prompts of a seed together.
        named: columns of the reading that stand in the label even if they are the same in all rows.

    Raises:
        InputError: no such order, or two rows of the table are of one place.
    """
    if order not in ("prompt", "seed"):
        raise InputError(f"order is 'prompt' or 'seed', not {order!r}.")
    labelled = table.assign(_column=column_labels(table))
    column = "upscaled" if "upscaled" in table else "image"
    several = [
        name
        for name in VARIANT_COLUMNS
        if name in table and (name in named or table[name].nunique(dropna=False) > 1)
    ]
    keys = ["prompt", *several, "seed"]
    found = []
    for key, group in labelled.groupby(keys, sort=False, dropna=False):
        values: tuple[Any, ...] = tuple(key)
        if group["_column"].duplicated().any():
            twice = group["_column"][group["_column"].duplicated()].iloc[0]
            raise InputError(
                f"The table has more than one image of layer {twice} of {values[0]!r}, seed {values[-1]}."
            )
        images = dict(zip(group["_column"], group[column], strict=True))
        reasons = group["missing"] if "missing" in group else pd.Series("", index=group.index)
        missing = {
            name: str(why)
            for name, why in zip(group["_column"], reasons, strict=True)
            if images[name] is None
        }
        reading = ", ".join(
            f"{name} {value}" for name, value in zip(keys[1:-1], values[1:-1], strict=True) if value
        )
        said = dict(zip(group["_column"], group["said"], strict=True)) if "said" in group else {}
        found.append(GridRow(str(values[0]), int(values[-1]), reading, images, missing, said))
    if order == "seed":
        seeds = list(dict.fromkeys(row.seed for row in found))
        found.sort(key=lambda row: seeds.index(row.seed))  # stable: prompts stay in their order
    return found


def difference_image(one: Image.Image | None, other: Image.Image | None) -> Image.Image | None:
    """The absolute difference of two images, black where they are equal; None where one is missing."""
    if one is None or other is None or one.size != other.size:
        return None
    pixels = [np.asarray(image.convert("RGB"), dtype=np.int16) for image in (one, other)]
    return Image.fromarray(np.abs(pixels[0] - pixels[1]).astype(np.uint8))
