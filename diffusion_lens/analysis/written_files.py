"""The files that an analysis wrote: the next one into the same folder removes those that it has no more."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from diffusion_lens.errors import OutputError
from diffusion_lens.files import read_file

__all__ = ["describe_files", "read_former_files", "remove_former_files"]


def describe_files(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """The digests of files by their paths from a folder, for `analysis.json`."""
    return {path.relative_to(folder).as_posix(): _digest(path) for path in sorted(files)}


def read_former_files(record: Path) -> dict[str, str]:
    """What `describe_files` gave to the analysis whose record this is; empty if it says nothing of it."""
    try:
        found = json.loads(read_file(record))
    except (OSError, ValueError, RecursionError):  # there is none; or it is no record of an analysis
        return {}
    files = found.get("files") if isinstance(found, dict) else None
    return {str(name): str(digest) for name, digest in files.items()} if isinstance(files, dict) else {}


def remove_former_files(folder: Path, former: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Remove what a former analysis wrote to a folder and this one did not.

    Args:
        folder: the folder of the analysis.
        former: of `read_former_files`.
        now: of `describe_files`.

    Returns:
        Files that were changed since, which are left where they are.

    Raises:
        OutputError: a file can't be removed.
    """
    changed = []
    for name in sorted(former.keys() - now.keys()):
        path = folder / name
        # a record is data, and leads nowhere else
        if ".." in Path(name).parts or path.is_symlink() or not path.is_file():
            continue
        if folder.resolve() not in path.resolve().parents:
            continue
        if _digest(path) != former[name]:
            changed.append(name)
            continue
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(
                f"{path} is of the former analysis, and can't be removed: {error.strerror or error}. "
                "Remove it, so that nobody takes it for one of this analysis."
            ) from error
    return changed


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
