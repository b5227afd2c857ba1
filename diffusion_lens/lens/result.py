"""`Result`: the images of a lens, the table behind them, and the states that they were drawn from."""

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.files import check_output, write_whole
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.text.states import LayerStates

__all__ = ["IMAGE_COLUMNS", "Result"]

IMAGE_COLUMNS = ("image", "upscaled")
_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@dataclass(frozen=True, repr=False)
class Result:
    """What a lens drew.

    Attributes:
        table: one row by image: `prompt`, `encoder`, `layer`, `native` (read where the pipeline reads),
            `identical` (the very image of the untouched pipeline), `readout`, `pooled`, `slots`, `seed`,
            `model`, the sampler settings, `missing` (why there is no image, or None), `image` and, for
            pipelines of two stages, `upscaled` (PIL images).
        states: the hidden states by encoder.
    """

    table: pd.DataFrame
    states: Mapping[str, LayerStates]

    def image(
        self, layer: int | str, seed: int = 0, prompt: str | None = None, *, upscaled: bool = False
    ) -> Image.Image:
        """The image of one layer and seed.

        Args:
            layer: a layer number, or "native".
            seed: a seed of the table.
            prompt: a prompt of the table; may be left out where there is only one.
            upscaled: the second stage's image instead.

        Raises:
            InputError: no such image, or it is missing (the reason is said).
        """
        table = self._of_prompt(prompt)
        match = table["native"] if layer == "native" else table["layer"] == layer
        if layer != "native" and match.sum() > table["seed"].nunique():
            match &= ~table["native"]  # several taps: the layer itself, not the native reading
        found = table[match & (table["seed"] == seed)]
        if found.empty:
            raise InputError(
                f"There is no image of layer {layer!r}, seed {seed!r}. There are layers "
                f"{sorted(table['layer'].unique().tolist())}"
                f"{', native' if table['native'].any() else ''} and seeds "
                f"{sorted(table['seed'].unique().tolist())}."
            )
        row = found.iloc[0]
        column = "upscaled" if upscaled else "image"
        if column not in row or row[column] is None:
            raise InputError(f"The image of layer {layer!r}, seed {seed!r} is missing: {row['missing']}.")
        return row[column]

    def grid(self, prompt: str | None = None, *, cell: int = 160) -> Image.Image:
        """Rows of seeds (and prompts), columns of layers, labelled; upscaled images where there are.

        Args:
            prompt: only this prompt.
            cell: the longer side of an image on the sheet, in pixels.
        """
        table = self.table if prompt is None else self._of_prompt(prompt)
        column = "upscaled" if "upscaled" in table else "image"
        prompts = table["prompt"].unique()
        rungs = table[["layer", "native"]].drop_duplicates().itertuples(index=False)
        columns = [(rung.layer, rung.native) for rung in rungs]
        keys = table[["prompt", "seed"]].drop_duplicates().itertuples(index=False)
        rows = [(key.prompt, key.seed) for key in keys]
        images = {
            (row["prompt"], row["seed"], row["layer"], row["native"]): row[column]
            for row in table.to_dict("records")
        }
        encoder = table["encoder"].iloc[0]
        what = f"layer of {encoder}" if encoder != "all" else "layer (all encoders in step)"
        return contact_sheet(
            [[images.get((*row, *rung)) for rung in columns] for row in rows],
            [f"{text}, seed {seed}" if len(prompts) > 1 else f"seed {seed}" for text, seed in rows],
            [f"{layer}, native" if native else str(layer) for layer, native in columns],
            title=f"{prompts[0]} | {what}" if len(prompts) == 1 else what,
            cell=cell,
        )

    def changes(self) -> pd.DataFrame:
        """How much the picture changes from layer to layer.

        Returns:
            The table without images, in which `from_previous` is the mean absolute difference of the
            pixels (0 to 1) from the image of the layer before, and `from_last` that from the deepest
            layer drawn, for the same prompt and seed; missing where one of the two images is.
        """
        groups = []
        for _, group in self.table.groupby(["prompt", "seed"], sort=False):
            ordered = group.sort_values(["layer", "native"])
            images = [_values(image) for image in ordered["image"]]
            before = [None, *images[:-1]]
            groups.append(
                ordered.drop(columns=[name for name in IMAGE_COLUMNS if name in ordered]).assign(
                    from_previous=[_difference(*pair) for pair in zip(images, before, strict=True)],
                    from_last=[_difference(image, images[-1]) for image in images],
                )
            )
        return pd.concat(groups, ignore_index=True)

    def _of_prompt(self, prompt: str | None) -> pd.DataFrame:
        prompts = list(self.table["prompt"].unique())
        if prompt is None and len(prompts) == 1:
            return self.table
        if prompt not in prompts:
            raise InputError(f"Prompt {prompt!r} is not in this result. Name one of: {prompts}.")
        return self.table[self.table["prompt"] == prompt]

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write `grid.png`, `images.parquet` and the states to a folder that `load` reads back.

        Raises:
            OutputError: the folder can't be written, or holds a result and `overwrite` is off.
        """
        path = Path(folder)
        check_output(path / "grid.png", overwrite=overwrite)
        check_output(path / "images.parquet", overwrite=overwrite)
        for name, states in self.states.items():
            states.save(path / f"states-{name}.safetensors")
        for old in path.glob("states-*.safetensors"):
            if old.stem.removeprefix("states-") not in self.states:
                old.unlink()
        self.save_table(path / "images.parquet")
        write_whole(path / "grid.png", lambda file: self.grid().save(file, "PNG"))
        return path

    def save_table(self, path: str | os.PathLike[str]) -> None:
        """Write the table as parquet, images inside in the layout of Hugging Face `datasets`."""
        images = {name: self.table[name] for name in IMAGE_COLUMNS if name in self.table}
        table = pa.Table.from_pandas(self.table.drop(columns=list(images)), preserve_index=False)
        for name, column in images.items():
            table = table.append_column(name, pa.array([_encode(image) for image in column], _IMAGE))
        features = {"info": {"features": {name: {"_type": "Image"} for name in images}}}
        described = {**(table.schema.metadata or {}), b"huggingface": json.dumps(features).encode()}
        table = table.replace_schema_metadata(described)
        write_whole(Path(path), lambda file: pq.write_table(table, file))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Result":
        """Read what `save` wrote.

        Raises:
            InputError: the folder holds no whole result.
        """
        path = Path(folder)
        try:
            table = pd.read_parquet(path / "images.parquet")
        except (OSError, ValueError) as error:
            raise InputError(f"{path} holds no whole result of result.save ({error}).") from error
        for name in IMAGE_COLUMNS:
            if name in table:
                table[name] = pd.Series([_decode(cell) for cell in table[name]], dtype=object)
        table["missing"] = table["missing"].astype(object).where(table["missing"].notna(), None)
        states = [LayerStates.load(file) for file in sorted(path.glob("states-*.safetensors"))]
        return cls(table, {one.encoder: one for one in states})

    def __repr__(self) -> str:
        counts = [f"{self.table[name].nunique()} {name}s" for name in ("prompt", "layer", "seed")]
        return f"Result({len(self.table)} images: {', '.join(counts)})"

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.grid().save(buffer, "PNG")
        return buffer.getvalue()


def _encode(image: Image.Image | None) -> dict[str, Any] | None:
    if image is None:
        return None
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}


def _decode(cell: Mapping[str, Any] | None) -> Image.Image | None:
    return None if cell is None else Image.open(io.BytesIO(cell["bytes"])).convert("RGB")


def _values(image: Image.Image | None) -> np.ndarray | None:
    return None if image is None else np.asarray(image, dtype=np.float32) / 255


def _difference(one: np.ndarray | None, other: np.ndarray | None) -> float:
    if one is None or other is None:
        return float("nan")
    return float(np.abs(one - other).mean())
