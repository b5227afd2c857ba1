"""The parquet files of a run, opened for looking: those that are damaged are said, and the rest is read.

Each page of a part has a checksum, so that bytes that changed on the disk are seen and not shown as images.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from diffusion_lens.errors import RunError
from diffusion_lens.files import open_from

__all__ = ["NEEDED", "find_parts", "read_images_of", "read_rows", "whole_layers"]

NEEDED = ("prompt", "layer", "seed", "image")


def whole_layers(labels: Iterable[str]) -> list[str]:
    """The labels that are no parts of blocks ("6.attn"); all, where there is nothing else.

    What a part adds is no step on the way from the first layer to the last one.
    """
    known = list(labels)
    return [name for name in known if "." not in name] or known


def find_parts(fs: Any, root: str, url: str) -> list[str]:
    """The parquet files that may hold images.

    Raises:
        RunError: there is none; what is there is said.
    """
    if not fs.isdir(root):
        return [root]
    for pattern in ("images/*.parquet", "images.parquet", "*.parquet"):
        # a file that is being written begins with a dot; so may a folder that the run lies in
        listed = sorted(fs.glob(f"{root}/{pattern}"))
        found = [path for path in listed if not path.rpartition("/")[2].startswith(".")]
        if found:
            return found
    inside = sorted(path.rpartition("/")[2] for path in fs.ls(root, detail=False))
    shown = ", ".join(inside[:6]) + (", ..." if len(inside) > 6 else "")
    begun = "The run is planned, and no image is drawn yet" if "manifest.json" in inside else "No run"
    raise RunError(
        f"{begun}: {url} has no images/*.parquet. It holds {shown or 'nothing'}. Name the folder that "
        "`diffusion-lens sweep` or `result.save` wrote, or a parquet file with the columns "
        f"{', '.join(NEEDED)}."
    )


def read_rows(
    fs: Any, root: str, parts: Sequence[str], notes: list[str]
) -> tuple[pd.DataFrame, dict[str, tuple[str, int]]]:
    """All columns but the images, and where the image of each cell lies: its part, and the row there.

    Args:
        fs: the file system.
        root: the run's folder in it.
        parts: the files.
        notes: gets a sentence for each file that can't be used.
    """
    frames: list[pd.DataFrame] = []
    where: dict[str, tuple[str, int]] = {}
    for path in parts:
        short = path.removeprefix(root).lstrip("/") or path.rpartition("/")[2]
        try:
            with open_from(fs, path) as file:
                part = pq.ParquetFile(file, page_checksum_verification=True)
                schema = part.schema_arrow
                lacking = [name for name in NEEDED if name not in schema.names]
                if lacking:
                    notes.append(f"{short} has no column {', '.join(lacking)}; it is no table of images.")
                    continue
                plain = [name for name in schema.names if not pa.types.is_struct(schema.field(name).type)]
                frame = part.read(plain).to_pandas()
        except (OSError, pa.ArrowException) as error:
            notes.append(f"{short} is damaged and left out ({str(error).splitlines()[0]}).")
            continue
        if "cell" not in frame:
            frame["cell"] = [
                f"{short.removesuffix('.parquet').replace('/', '-')}-{i}" for i in range(len(frame))
            ]
        doubled = frame["cell"].map(where.__contains__).astype(bool)  # of no rows too
        if doubled.any():
            notes.append(
                f"{short} repeats {int(doubled.sum())} images of other parts; they are shown once."
            )
        where |= {cell: (path, i) for i, cell in enumerate(frame["cell"]) if cell not in where}
        frames.append(frame[~doubled])
    return (pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()), where


@lru_cache(maxsize=8)  # a part of large images has some 50 MB
def read_images_of(fs: Any, path: str) -> tuple[bytes | None, ...] | str:
    """The encoded images of one part; of a part that is damaged or gone, what is wrong with it."""
    try:
        with fs.open(path, "rb") as file:
            part = pq.ParquetFile(file, page_checksum_verification=True)
            column = part.read(["image"]).column("image").to_pylist()
    except (OSError, pa.ArrowException) as error:
        return str(error).strip().splitlines()[0]
    return tuple(None if one is None else one["bytes"] for one in column)
