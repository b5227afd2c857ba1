"""Images of a result's table: one of them, and how much they change from layer to layer."""

import numpy as np
import pandas as pd
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.runs.table import IMAGE_COLUMNS, VARIANT_COLUMNS

__all__ = ["changes", "find_image"]


def find_image(table: pd.DataFrame, layer: int | str, seed: int, *, upscaled: bool) -> Image.Image:
    """The image of one layer and seed in a table of one prompt; see `Result.image`.

    Raises:
        InputError: no such image, or it is missing (the reason is said).
    """
    match = table["native"] if layer == "native" else table["layer"] == layer
    if isinstance(layer, str) and layer != "native":
        match = table["site"] == layer
    elif layer != "native":
        # of several images the layer itself, neither a part of its block nor what is read natively besides
        for other in (table["site"].str.contains(".", regex=False), table["native"]):
            match = match & ~other if (match & ~other).any() else match
    found = table[match & (table["seed"] == seed)]
    if found.empty:
        raise InputError(
            f"There is no image of layer {layer!r}, seed {seed!r}. There are layers "
            f"{sorted(table['layer'].unique().tolist())}"
            f"{', native' if table['native'].any() else ''} and seeds "
            f"{sorted(table['seed'].unique().tolist())}."
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
