"""Files: written whole or not at all, and images as values of parquet columns."""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from PIL import Image

from diffusion_lens.errors import OutputError

__all__ = [
    "IMAGE",
    "ImageOrReason",
    "check_output",
    "check_outputs",
    "check_within",
    "image_bytes",
    "image_cell",
    "image_metadata",
    "read_image",
    "write_whole",
]

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""The type of an image column, in the layout of Hugging Face `datasets`."""


@dataclass(frozen=True)
class ImageOrReason:
    """An image, or why there is none.

    Attributes:
        image: the image; None where there is none.
        missing: why there is none; None where there is one.
    """

    image: Image.Image | None = None
    missing: str | None = None


def check_output(path: Path, *, overwrite: bool) -> None:
    """Make sure before any work that a file can be written there.

    Raises:
        OutputError: it exists and `overwrite` is off, or its folder can't be made or written.
    """
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists. Choose another path, or allow replacing it with --overwrite (overwrite=True)."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"{path} can't be written: {error.strerror or error}. Choose a path in a folder that you "
            "may write to."
        ) from error


def check_outputs(folder: Path, names: Iterable[str], *, overwrite: bool) -> tuple[Path, ...]:
    """The paths of several files of a folder, each checked by `check_output`.

    Raises:
        OutputError: as `check_output`.
    """
    paths = tuple(folder / name for name in names)
    for path in paths:
        check_output(path, overwrite=overwrite)
    return paths


def check_within(root: Path, name: str) -> None:
    """Refuse to write below a folder through a symbolic link in it, which may lead anywhere.

    Args:
        root: the folder, which may itself be a link.
        name: of the file, relative to it; the file's own link would be replaced, and is no fault.

    Raises:
        OutputError: a folder on the way is a link.
    """
    for folder in list((root / name).parents)[: len(Path(name).parents) - 1]:
        if folder.is_symlink():
            raise OutputError(
                f"{folder} is a symbolic link to {folder.readlink()}, where {Path(name).name} would be "
                "written. Remove the link, or put the folder itself in its place, and give the same "
                "command again."
            )


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write to a temporary name and rename, so that a file is there whole or not at all.

    Raises:
        OutputError: the disk is full, or the folder went away.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            write(file)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path} could not be written: {error.strerror or error}.") from error


def image_bytes(image: Image.Image, kind: str = "png") -> bytes:
    """Lossless bytes of an image, at the setting that is fastest for its size: "png" or "webp"."""
    buffer = io.BytesIO()
    if kind == "webp":
        image.save(buffer, "WEBP", lossless=True, method=0)
    else:
        image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def image_cell(content: bytes | None) -> dict[str, bytes | None] | None:
    """Image bytes as a value of a column of `IMAGE` type."""
    return None if content is None else {"bytes": content, "path": None}


def image_metadata(columns: Iterable[str]) -> dict[bytes, bytes]:
    """The metadata of a parquet schema by which Hugging Face `datasets` knows its image columns."""
    features = {"info": {"features": {name: {"_type": "Image"} for name in columns}}}
    return {b"huggingface": json.dumps(features).encode()}


def read_image(cell: Mapping[str, bytes | None] | None, missing: str | None) -> ImageOrReason:
    """The image of a value of an image column, or why there is none."""
    if cell is None or cell["bytes"] is None:
        return ImageOrReason(None, missing or "there is no image, and no reason was recorded")
    try:
        return ImageOrReason(Image.open(io.BytesIO(cell["bytes"])).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        return ImageOrReason(None, f"the image can't be read: {error}")
