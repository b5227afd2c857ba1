"""Output files: checked before any work, and written whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from diffusion_lens.errors import OutputError

__all__ = ["check_output", "write_whole"]


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
