"""The files of a `Result`: `images.parquet`, `states-*.safetensors`, or the images of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from diffusion_lens.errors import InputError
from diffusion_lens.files import IMAGE, image_bytes, image_cell, image_metadata, read_image, write_whole
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.runs.images import read_run
from diffusion_lens.runs.table import COLUMNS, IMAGE_COLUMNS, schema_of

if TYPE_CHECKING:
    from diffusion_lens.text.states import LayerStates

__all__ = ["load_states", "load_table", "save_states", "save_table"]

Wanted = Mapping[str, str | int | Sequence[str] | Sequence[int] | None]
"""The values of a column that are asked for, by its name; None for all."""

_NEEDED = ("prompt", "layer", "native", "seed", "missing", "image")


def save_table(table: pd.DataFrame, path: Path) -> None:
    """Write a result's table as parquet, images inside in the layout of Hugging Face `datasets`.

    Raises:
        OutputError: the file can't be written.
    """
    images = [name for name in IMAGE_COLUMNS if name in table]
    rows: list[dict[Any, Any]] = table.to_dict("records")
    for row in rows:
        for name in images:
            row[name] = image_cell(None if row[name] is None else image_bytes(row[name]))
    user = [str(name) for name in table if name not in (*COLUMNS, *IMAGE_COLUMNS)]
    prompts = [Prompt(row["prompt"], {name: row[name] for name in user}) for row in rows]
    schema = schema_of(prompts)
    for name in images:
        if name not in schema.names:
            schema = schema.append(pa.field(name, IMAGE))
    written = pa.Table.from_pylist(rows, schema.with_metadata(image_metadata(images)))
    write_whole(path, lambda file: pq.write_table(written, file))


def load_table(place: str, wanted: Wanted) -> pd.DataFrame:
    """The rows of a saved result or of a run that hold what is wanted, with their images.

    Args:
        place: a folder of `Result.save`, a parquet file of `save_table`, or a run.
        wanted: see `Wanted`.

    Raises:
        InputError: it is none of these, or holds no image that was asked for.
        RunError: the run is damaged.
    """
    path = Path(place)
    saved = path if path.is_file() else path / "images.parquet"
    asked = {
        name: [values] if isinstance(values, (str, int)) else list(values)
        for name, values in wanted.items()
        if values is not None
    }
    table: pd.DataFrame = _read_parquet(saved) if saved.is_file() else read_run(place, asked)
    if saved.is_file() and table.empty:
        raise InputError(f"{place} holds no image. Give a result or a run with images.")
    for name, chosen in asked.items():
        unknown = [value for value in chosen if value not in set(table[name])]
        if unknown:
            whole = _read_parquet(saved) if saved.is_file() else read_run(place, {}, columns=[*asked])
            raise InputError(f"{place} {_describe_absent(whole, asked, name, unknown[0])}")
        table = table.loc[table[name].isin(chosen)]
    table = table.reset_index(drop=True)
    for name in map(str, table):
        if table[name].isna().any():
            table[name] = table[name].astype(object).where(table[name].notna(), None)
    for name in IMAGE_COLUMNS:
        if name not in table:
            continue
        found = [read_image(*cell) for cell in zip(table[name], table["missing"], strict=True)]
        table[name] = pd.Series([one.image for one in found], dtype=object)
        if name == "image":
            table["missing"] = pd.Series([one.missing for one in found], dtype=object)
    return table


def _describe_absent(whole: pd.DataFrame, asked: Mapping[str, list[Any]], name: str, value: Any) -> str:
    """Which of the values that were asked for no image has; where each is there, which two never meet."""
    for one, chosen in asked.items():
        held = whole[one].unique().tolist()
        absent = [value for value in chosen if value not in held]
        if absent:
            return f"holds no image of {one} {absent[0]!r}. It holds: {_listed(held)}."
    others = ", ".join(f"{one} {_listed(chosen)}" for one, chosen in asked.items() if one != name)
    return f"holds no image of {name} {value!r} and {others}."


def save_states(states: Mapping[str, "LayerStates"], folder: Path) -> None:
    """Write a file for each encoder, and remove those of other encoders."""
    for name, one in states.items():
        one.save(folder / f"states-{name}.safetensors")
    for old in folder.glob("states-*.safetensors"):
        if old.stem.removeprefix("states-") not in states:
            old.unlink()


def load_states(folder: Path) -> "dict[str, LayerStates]":
    """The states by encoder; none of a run.

    Raises:
        InputError: a file is damaged.
    """
    files = sorted(folder.glob("states-*.safetensors"))
    if not files:
        return {}
    from diffusion_lens.text.states import LayerStates

    return {file.stem.removeprefix("states-"): LayerStates.load(file) for file in files}


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} holds no whole result ({error}). Give a parquet file of images, a folder of "
            "Result.save, or the folder of a run."
        ) from error
    lacking = [name for name in _NEEDED if name not in table]
    if lacking:
        raise InputError(
            f"{path} is no table of images: it has no column {', '.join(lacking)}. Give a file that "
            "`diffusion-lens show` or Result.save_table wrote, or the folder of a run."
        )
    return table


def _listed(values: Sequence[Any]) -> str:
    """A list of values, cut to a length that can be read."""
    shown = ", ".join(repr(value) for value in values[:12])
    return shown + (f", and {len(values) - 12} more" if len(values) > 12 else "")
