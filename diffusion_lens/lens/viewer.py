"""The viewer of a result: one HTML page with a layer slider and zoom, without kernel or network."""

from html import escape

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from diffusion_lens.lens.rows import grid_columns, grid_rows, join_title, shared_reading
from diffusion_lens.lens.thumbnails import data_address, thumbnail

__all__ = ["embed", "viewer_page"]

_SIDE = 320  # a row's large image on a screen of two pixels a point
_MOST = 12_000_000  # bytes: a notebook with more than this is slow to open


def viewer_page(table: pd.DataFrame) -> str:
    """The page of a result.

    Args:
        table: the table of the result.
    """
    columns, rows = grid_columns(table), grid_rows(table)
    images = [image for row in rows for image in row.images.values() if image is not None]
    side = _SIDE
    while len(images) * side * side // 6 > _MOST and side > 64:
        side //= 2
    several = len({row.prompt for row in rows}) > 1
    shown = [
        {
            "label": row.label(prompt=several),
            "seed": f"seed {row.seed}",
            "cells": [
                None if image is None else data_address(thumbnail(image, side))
                for image in map(row.images.get, columns)
            ],
            "missing": [row.missing.get(name, "not drawn") for name in columns],
        }
        for row in rows
    ]
    small = bool(images) and max(images[0].size) <= 128
    page = Environment(
        loader=PackageLoader("diffusion_lens.lens", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("viewer.html")
    title = join_title("" if several or not rows else rows[0].prompt, shared_reading(table))
    return page.render(title=title, columns=columns, rows=shown, small=small, last=len(columns) - 1)


def embed(page: str, *, rows: int) -> str:
    """A page as a frame inside another one, which it can neither read nor change.

    Args:
        page: the page.
        rows: of images, from which the height follows.
    """
    height = min(90 + rows * 178, 720)
    return (
        f'<iframe sandbox="allow-scripts" title="Layers of the result" loading="lazy" width="100%" '
        f'height="{height}" style="border: 0" srcdoc="{escape(page, quote=True)}"></iframe>'
    )
