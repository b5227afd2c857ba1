"""A run as plain files: a folder of PNGs with a table, or tar shards for WebDataset."""

import csv
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from diffusion_lens.errors import InputError, OutputError
from diffusion_lens.files import image_bytes, write_whole
from diffusion_lens.runs.integrity import check_parts, read_part
from diffusion_lens.runs.manifest import load_plan
from diffusion_lens.runs.plan import Cell, Plan
from diffusion_lens.runs.store import Scan, Store

__all__ = ["FORMATS", "export_run"]

Format = Literal["png", "webdataset"]
FORMATS: tuple[Format, ...] = ("png", "webdataset")
_SHARD = 1000


def export_run(url: str | os.PathLike[str], out: str | os.PathLike[str], kind: Format = "png") -> int:
    """Write the images of a run's experiment as plain files, part by part.

    "png" writes one file an image and `metadata.csv` with all columns, which `datasets` opens as an
    image folder. "webdataset" writes shards of 1000 images, each a .png and a .json of one name. Names
    hold the number of the prompt, never its text.

    Args:
        url: the run.
        out: a folder that is new or empty.
        kind: the format.

    Returns:
        The number of images written; rows without an image have none.

    Raises:
        InputError: no such format.
        RunError: there is no such run, or it is damaged; the images to draw again are named.
        OutputError: the folder is not empty or can't be written.
    """
    if kind not in FORMATS:
        raise InputError(f"{kind!r} is no format. Allowed: {', '.join(FORMATS)}.")
    store, folder = Store(url), Path(out)
    plan = load_plan(store.read_json("manifest.json"))
    names = {cell.id: _name(plan, cell) for cell in plan.cells}
    scan = store.scan()
    check_parts(store, plan, scan.parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty; choose a new folder.")
        rows = _rows(store, plan, scan, names)
        return _write_pngs(folder, rows) if kind == "png" else _write_shards(folder, rows)
    except OSError as error:
        raise OutputError(f"{folder} can't be written: {error.strerror or error}.") from error


def _name(plan: Plan, cell: Cell) -> str:
    """A file name that sorts by prompt and layer; only the cell's id in it is unique."""
    reading = plan.reading(cell)
    kind = re.sub(r"[^\w.-]+", "_", f"{reading.reading.encoder}-{reading.reading.readout.id}")
    native = "-native" if reading.native else ""
    return f"{cell.prompt:05d}-{kind[:80]}-layer{reading.layer:02d}{native}-seed{cell.seed}-{cell.id[:6]}"


def _rows(
    store: Store, plan: Plan, scan: Scan, names: dict[str, str]
) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Name, PNG bytes and the other columns of every image."""
    for part in scan.parts:
        for row in read_part(store, plan, part).to_pylist():
            image = row.pop("image")
            if image is None or row["cell"] not in names:
                continue
            content = image["bytes"]
            if not content.startswith(b"\x89PNG"):
                content = image_bytes(Image.open(io.BytesIO(content)))
            yield names[row["cell"]], content, row


def _write_pngs(folder: Path, rows: Iterator[tuple[str, bytes, dict[str, Any]]]) -> int:
    count = 0
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = None
        for name, content, row in rows:
            (folder / f"{name}.png").write_bytes(content)
            described = {"file_name": f"{name}.png", **row}
            if writer is None:
                writer = csv.DictWriter(file, list(described))
                writer.writeheader()
            writer.writerow(described)
            count += 1
    return count


def _write_shards(folder: Path, rows: Iterator[tuple[str, bytes, dict[str, Any]]]) -> int:
    count, shard = 0, 0
    waiting: list[tuple[str, bytes]] = []

    def flush() -> None:
        nonlocal shard
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, content in waiting:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        write_whole(folder / f"images-{shard:06d}.tar", lambda file: file.write(buffer.getvalue()))
        waiting.clear()
        shard += 1

    for name, content, row in rows:
        described = json.dumps(row, ensure_ascii=False).encode()
        waiting.extend([(f"{name}.png", content), (f"{name}.json", described)])
        count += 1
        if count % _SHARD == 0:
            flush()
    if waiting:
        flush()
    return count
