"""Images of a result's table: one of them, and how much they change from layer to layer."""

import numpy as np
import pandas as pd
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.runs.table import IMAGE_COLUMNS, VARIANT_COLUMNS

__all__ = ["changes", "find_image", "rows_of_layer"]


def find_image(table: pd.DataFrame, layer: int | str, seed: int, *, upscaled: bool) -> Image.Image:
    """The image of one layer and seed in a table of one prompt; see `Result.image`.

    Raises:
        InputError: no such image, or it is missing (the reason is said).
    """
    found = table[rows_of_layer(table, layer) & (table["seed"] == seed)]
    if found.empty:
        seeds = ", ".join(map(str, sorted(table["seed"].unique().tolist())))
        raise InputError(
            f"There is no image of layer {layer!r}, seed {seed!r}. There are layers "
            f"{', '.join(_names(table))} and seeds {seeds}."
        )
    for name in _variants(found):
        values = found[name].astype(str).unique().tolist()
        if len(values) > 1:
            raise InputError(
                f"There are {len(found)} images of layer {layer!r}, seed {seed!r}, with different {name}: "
                f"{', '.join(map(repr, values))}. Choose a row of the table."
            )
    row = found.iloc[0]
    column = "upscaled" if upscaled else "image"
    if column not in row or row[column] is None:
        raise InputError(f"The image of layer {layer!r}, seed {seed!r} is missing: {row['missing']}.")
    image: Image.Image = row[column]
    return image


def rows_of_layer(table: pd.DataFrame, layer: int | str) -> pd.Series:
    """Which rows are of a layer: a number, "native", or a site as it is written."""
    native = table["native"].astype(bool)
    if layer == "native":
        return native
    if isinstance(layer, str):
        return table["site"] == layer
    of_layer = table["layer"] == layer
    parts = table["site"].str.contains(".", regex=False)
    itself = of_layer & ~native & ~parts
    return itself if itself.any() else of_layer & ~parts  # read where the pipeline reads


def _names(table: pd.DataFrame) -> list[str]:
    """What the layers of a table can be asked for by."""
    ordered = table.sort_values("layer", kind="stable")
    parts = ordered["site"].str.contains(".", regex=False)
    numbers = [str(layer) for layer in ordered.loc[~parts, "layer"].unique()]
    native = ["native"] if table["native"].any() else []
    return [*numbers, *ordered.loc[parts, "site"].unique(), *native]


def changes(table: pd.DataFrame) -> pd.DataFrame:
    """How much the image changes from layer to layer; see `Result.changes`."""
    groups = []
    part = table["site"].str.partition(".")[2]  # of blocks: what it adds is a series of its own
    series = ["prompt", "seed", *_variants(table), part]
    for _, group in table.groupby(series, sort=False, dropna=False):
        ordered = group.sort_values(["layer", "native"])
        images = [_values(image) for image in ordered["image"]]
        before = [None, *images[:-1]]
        groups.append(
            ordered.drop(columns=[name for name in IMAGE_COLUMNS if name in ordered]).assign(
                from_previous=[_difference(*pair) for pair in zip(images, before, strict=True)],
                from_last=[_difference(image, images[-1]) for image in images],
            )
        )
    found: pd.DataFrame = pd.concat(groups, ignore_index=True)
    return found


def _variants(table: pd.DataFrame) -> list[str]:
    return [name for name in VARIANT_COLUMNS if name in table]


def _values(image: Image.Image | None) -> np.ndarray | None:
    return None if image is None else np.asarray(image, dtype=np.float32) / 255


def _difference(one: np.ndarray | None, other: np.ndarray | None) -> float:
    if one is None or other is None:
        return float("nan")
    return float(np.abs(one - other).mean())
