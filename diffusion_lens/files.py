"""Files: read within bounds, written whole or not at all, and images as values of parquet columns."""

import errno
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

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
    "open_from",
    "portable_name",
    "read_file",
    "read_from",
    "read_image",
    "read_text",
    "why_unreadable",
    "write_whole",
]

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""The type of an image column, in the layout of Hugging Face `datasets`."""


_LARGEST = 2**28  # bytes of a text, such as prompts or questions


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file; not of a device or pipe, which may never end.

    Raises:
        OSError: it can't be read, or is no file.
    """
    _check_ends(path)
    return Path(path).read_bytes()


def _check_ends(path: str | os.PathLike[str]) -> None:
    if Path(path).exists() and not Path(path).is_file():
        raise OSError(errno.EINVAL, "it is no file", str(path))


def open_from(fs: Any, path: str) -> Any:
    """A file of a file system of fsspec, open to be read; a local one as in `read_file`.

    Raises:
        OSError: it can't be read, or is no file.
    """
    if "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol):
        _check_ends(path)
    return fs.open(path, "rb")


def read_from(fs: Any, path: str) -> bytes:
    """The bytes of a file of a file system of fsspec; see `open_from`."""
    with open_from(fs, path) as file:
        return bytes(file.read())


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file or pipe in UTF-8, with or without a byte order mark; a line's end is one letter.

    Raises:
        OSError: it can't be read, or is larger than 256 MiB.
        UnicodeDecodeError: it is of another encoding.
    """
    with open(path, "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {_LARGEST >> 20} MiB", str(path))
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()


def why_unreadable(error: Exception) -> str:
    """Why a file can't be read, without its path: what `read_text` raises, or what reads the text."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
        return f"it is no UTF-8 text, in line {line}; save it as UTF-8"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return (isinstance(error, OSError) and error.strerror) or str(error)


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
    """Make sure before any work that a file can be written there; nothing is left behind.

    Raises:
        OutputError: it exists and `overwrite` is off, it is a folder, or its own can't be made or written.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Choose the path of a file, such as one inside of it.")
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists. Choose another path, or allow replacing it with --overwrite (overwrite=True)."
        )
    try:
        made = [folder for folder in path.parents if not folder.exists()]  # the innermost first
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.probe")
        probe.touch()
        probe.unlink()
        with suppress(OSError):  # another process uses them by now
            for folder in made:
                folder.rmdir()
    except OSError as error:
        raise OutputError(
            f"{path} can't be written: {error.strerror or error}. Choose a path in a folder that you "
            "may write to."
        ) from error


def check_outputs(folder: Path, names: Iterable[str], *, overwrite: bool) -> tuple[Path, ...]:
    """The paths of several files of a folder, each checked by `check_output`.

    Raises:
        OutputError: as `check_output`; or the folder is named as one of the files would be.
    """
    paths = tuple(folder / name for name in names)
    if folder.suffix in {path.suffix for path in paths} and not folder.is_dir():
        raise OutputError(
            f"{folder} would be a folder, which gets {', '.join(path.name for path in paths)}. Leave "
            f"{folder.suffix} out of its name."
        )
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


def portable_name(path: Path) -> str:
    """A path from the current folder where it lies below it, else its name: what holds on any machine."""
    whole, here = Path(os.path.abspath(path)), Path.cwd()
    return whole.relative_to(here).as_posix() if here in whole.parents else whole.name


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write to a temporary name and rename, so that a file is there whole or not at all. Folders are made.

    Raises:
        OutputError: the disk is full, or the folder can't be made or written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            write(file)
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise OutputError(f"{path} could not be written: {error.strerror or error}.") from error
        raise


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
