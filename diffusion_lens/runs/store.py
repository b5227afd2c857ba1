"""`Store`: a run's folder, here or in an object store, in which every file is whole or not there.

    manifest.json            the experiment, its prompts and what the model resolved it to
    README.md                how to open it (a Hugging Face dataset card, so that the folder loads as one)
    images/part-*.parquet    one row an image, image bytes inside in the layout of Hugging Face `datasets`
    failed/*.json            cells that could not be drawn, and why
    sessions/*.json          when, where, by which versions, and how fast
    states/, stubs/         what the text encoders said, where the experiment wants it kept

Files are written under a temporary name and renamed. A part's name is a hash of its cells, so that the
same batch written twice is one file.
"""

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from diffusion_lens.errors import OutputError, RunError
from diffusion_lens.files import check_within, open_from, read_from

__all__ = ["Part", "Scan", "Store", "digest"]

_MARK = b"diffusion_lens"
_COLUMNS = ("cell", "prompt", "layer", "seed", "image", "missing", "seconds", "device")  # that readers need
_NUMBERS = ("images", "seconds", "batch_size", "asked_size", "flops_per_image", "matmul_flops")


@dataclass(frozen=True)
class Part:
    """One parquet file: its name, its cells, and its size in bytes."""

    name: str
    cells: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class Scan:
    """What a run holds.

    Attributes:
        parts: its parquet files.
        done: the ids of all cells that have a row.
        failed: why a cell could not be drawn, by id; without those that could later.
    """

    parts: tuple[Part, ...]
    done: frozenset[str]
    failed: Mapping[str, str]

    @property
    def bytes_per_image(self) -> float | None:
        """Mean size of a row on disk; None where there is none yet."""
        return sum(part.size for part in self.parts) / len(self.done) if self.done else None


class Store:
    """Reads and writes one run.

    Args:
        url: a path, or a URL that fsspec knows (`s3://...`, `gs://...`, `memory://...`).

    Raises:
        OutputError: no such kind of URL.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = os.fspath(url).rstrip("/")
        try:
            self.fs, self.root = url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise OutputError(f"{self.url} can't be opened: {error}.") from error
        self.local = isinstance(self.fs, LocalFileSystem)
        self._writer = uuid.uuid4().hex[:8]

    def path(self, name: str) -> str:
        """The full path of a file of the run."""
        return f"{self.root}/{name}"

    def exists(self) -> bool:
        """Whether there is a run."""
        return bool(self.fs.exists(self.path("manifest.json")))

    def check_within(self, name: str) -> None:
        """Refuse a file that would be written through a symbolic link; see `files.check_within`."""
        if self.local:
            check_within(Path(self.root), name)

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole.

        Raises:
            OutputError: it can't be written, the disk is full, or a folder of the run is a link.
        """
        self.check_within(name)
        folder, _, base = self.path(name).rpartition("/")
        partial = f"{folder}/.{base}.{self._writer}.partial"
        try:
            self.fs.makedirs(folder, exist_ok=True)
            self.fs.pipe_file(partial, content)
            self.fs.mv(partial, self.path(name))
        except OSError as error:
            if self._there(partial):
                self.fs.rm_file(partial)
            raise OutputError(
                f"{self.url}/{name} can't be written: {error.strerror or error}. All that was written "
                "before is whole; make room or choose another folder, and give the same command again."
            ) from error

    def _there(self, path: str) -> bool:
        try:
            return bool(self.fs.exists(path))
        except OSError:
            return False

    def read_json(self, name: str) -> Any:
        """The content of a JSON file.

        Raises:
            RunError: it is missing or damaged.
        """
        try:
            return json.loads(read_from(self.fs, self.path(name)))
        except FileNotFoundError as error:
            why = (
                f"{self.url} is no run: it holds no {name}"
                if self._there(self.root)
                else f"There is no {self.url}"
            )
            raise RunError(f"{why}. Name the folder of a run.") from error
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(
                f"{self.url}/{name} can't be read ({error}). {self.url} is no run, or a damaged one."
            ) from error

    def write_card(self) -> None:
        """Write the README that tells how the run is opened."""
        card = resources.files(__package__).joinpath("card.md").read_text(encoding="utf-8")
        self.write("README.md", card.format(url=self.url).encode())

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file whole; see `write`."""
        self.write(name, json.dumps(content, indent=1, ensure_ascii=False).encode())

    def write_part(self, table: pa.Table) -> None:
        """Write rows as one part.

        Raises:
            OutputError: it can't be written.
        """
        metadata = {**(table.schema.metadata or {}), _MARK: b'{"format": 1}'}
        plain = [
            name for name in table.column_names if not pa.types.is_struct(table.schema.field(name).type)
        ]
        buffer = pa.BufferOutputStream()
        # images are compressed already; the least and the largest of them, as statistics, say nothing
        pq.write_table(
            table.replace_schema_metadata(metadata),
            buffer,
            use_dictionary=plain,
            write_statistics=plain,
            write_page_checksum=True,
            compression={name: "zstd" if name in plain else "none" for name in _leaves(table.schema)},
        )
        cells = table.column("cell").to_pylist()
        self.write(f"images/part-{digest(cells)}.parquet", buffer.getvalue().to_pybytes())

    def write_failures(self, failures: Sequence[Mapping[str, Any]]) -> str:
        """Record cells that could not be drawn; the name of the file."""
        name = f"failed/{digest([one['cell'] for one in failures])}.json"
        self.write_json(name, list(failures))
        return name

    def names(self, folder: str, ending: str) -> list[str]:
        """The names of the finished files of a folder, below the run."""
        if not self.fs.exists(self.path(folder)):
            return []
        self.fs.invalidate_cache()
        names = [path.rpartition("/")[2] for path in self.fs.ls(self.path(folder), detail=False)]
        found = [name for name in names if name.endswith(ending) and not name.startswith(".")]
        return [f"{folder}/{name}" for name in sorted(found)]

    def failures(self) -> dict[str, list[dict[str, Any]]]:
        """What each file of failures holds, by name.

        Raises:
            RunError: a file that holds no failures.
        """
        found = {name: self.read_json(name) for name in self.names("failed", ".json")}
        for name, listed in found.items():
            if not isinstance(listed, list) or not all(_is_failure(one) for one in listed):
                raise _foreign(self.url, name)
        return found

    def sessions(self) -> list[dict[str, Any]]:
        """What is known of each session of drawing, in order.

        Raises:
            RunError: a file that describes no session.
        """
        found = {name: self.read_json(name) for name in self.names("sessions", ".json")}
        for name, one in found.items():
            numbers = [one[key] for key in _NUMBERS if key in one] if isinstance(one, dict) else [None]
            if not all(isinstance(number, int | float) for number in numbers):
                raise _foreign(self.url, name)
        return list(found.values())

    def scan(self) -> Scan:
        """Look through the whole run; only ids are read, not images.

        Raises:
            RunError: parts are cut short, not a run's, or hold a cell twice; all are named.
        """
        names = self.names("images", ".parquet")
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(self._read_part, names))
        wrong = [one for one in found if isinstance(one, str)]
        if wrong:
            raise RunError(
                f"{len(wrong)} of {len(names)} parts of {self.url} can't be used:\n  "
                + "\n  ".join(wrong)
                + "\nMove them out of the folder; the same command then draws again what is missing."
            )
        parts = tuple(one for one in found if isinstance(one, Part))
        counts = Counter(cell for part in parts for cell in part.cells)
        if len(counts) < sum(len(part.cells) for part in parts):
            twice = [part.name for part in parts if any(counts[cell] > 1 for cell in part.cells)]
            raise RunError(
                f"{self.url} holds cells twice, in {', '.join(twice)}. Were parts copied in from another "
                "run? Move all but one of them out of the folder."
            )
        failed = {one["cell"]: one["reason"] for listed in self.failures().values() for one in listed}
        done = frozenset(counts)
        return Scan(parts, done, {cell: why for cell, why in failed.items() if cell not in done})

    def _read_part(self, name: str) -> Part | str:
        """A part, or what is wrong with it."""
        try:
            with open_from(self.fs, self.path(name)) as file:
                part = pq.ParquetFile(file)
                if _MARK not in (part.schema_arrow.metadata or {}):
                    return f"{name}: was not written by a sweep"
                lacking = [column for column in _COLUMNS if column not in part.schema_arrow.names]
                if lacking:
                    return f"{name}: has no column {', '.join(lacking)}"
                cells = part.read(["cell"]).column("cell").to_pylist()
                return Part(name, tuple(cells), file.size)
        except (OSError, pa.ArrowException) as error:
            return f"{name}: is cut short or damaged ({str(error).splitlines()[0]})"

    def tidy(self) -> None:
        """Remove what writers that were killed have left unfinished. Only for who holds the whole run."""
        for folder in ("", "/images", "/failed", "/sessions", "/states", "/stubs"):
            for path in self.fs.glob(f"{self.root}{folder}/.*.partial"):
                self.fs.rm_file(path)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files of the run."""
        for name in names:
            self.fs.rm_file(self.path(name))


def _is_failure(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("cell"), str) and isinstance(one.get("reason"), str)


def _foreign(url: str, name: str) -> RunError:
    return RunError(f"{url}/{name} was not written by a sweep. Move it out of the folder.")


def digest(cells: Iterable[str]) -> str:
    """A name for a set of cells."""
    return hashlib.sha256("".join(sorted(cells)).encode()).hexdigest()[:20]


def _leaves(schema: pa.Schema) -> list[str]:
    """The columns of a schema as parquet names them, structs by their fields."""
    names = []
    for field in schema:
        inner = field.type if pa.types.is_struct(field.type) else ()
        names += [f"{field.name}.{one.name}" for one in inner] or [field.name]
    return names
