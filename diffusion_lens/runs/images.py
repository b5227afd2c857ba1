"""The images of a saved run, as scorers need them: by prompt, and a bounded number at a time."""

import io
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow.parquet as pq
from PIL import Image

from diffusion_lens.errors import RunError
from diffusion_lens.runs.manifest import load_plan
from diffusion_lens.runs.plan import Cell, Plan, ResolvedView
from diffusion_lens.runs.store import Scan, Store

__all__ = ["Picture", "RunImages", "Series"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """What became of a cell.

    Attributes:
        image: the image; None where there is none.
        missing: why there is none.
    """

    image: Image.Image | None = None
    missing: str | None = None


@dataclass(frozen=True)
class Series:
    """The cells of one prompt that differ by the layer alone, ascending.

    Attributes:
        run: the run's name; with the readout or "native tap" where the run has more than one of a layer.
        encoder: the encoder whose layers they are.
        prompt: index of the prompt.
        seed: the seed.
        last: the encoder's last layer, whether it is drawn or not.
        cells: the cells.
    """

    run: str
    encoder: str
    prompt: int
    seed: int
    last: int
    cells: tuple[Cell, ...]


@dataclass
class RunImages:
    """A run's images.

    Args:
        url: the run's folder, or a URL of fsspec.

    Raises:
        RunError: there is no run, or it is damaged.
    """

    url: str | os.PathLike[str]
    store: Store = field(init=False)
    plan: Plan = field(init=False)
    scan: Scan = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.url)
        self.plan = load_plan(self.store.read_json("manifest.json"))
        self.scan = self.store.scan()
        self._where = {cell: part.name for part in self.scan.parts for cell in part.cells}

    @property
    def name(self) -> str:
        """The run's name: its folder's."""
        return self.store.root.rstrip("/").rpartition("/")[2] or self.store.url

    def series(self) -> list[Series]:
        """All series of the run, those of a prompt together; cells that are not drawn yet are left out."""
        views = self.plan.resolved.views
        several = len({(view.columns["readout"], view.columns["pooled"], view.columns["slots"])
                       for view in views}) > 1  # fmt: skip
        found: dict[tuple[int, str, str, int], list[Cell]] = {}
        twice = _doubled(views)
        for cell in self.plan.cells:
            if cell.id not in self._where and cell.id not in self.scan.failed:
                continue
            columns = views[cell.view].columns
            run = self.name
            if several:
                run += f" ({columns['readout']}, {columns['pooled']}, {columns['slots']})"
            if cell.native and cell.layer in twice[cell.view]:
                run += " at the native tap"
            key = (cell.prompt, run, columns["encoder"], cell.seed)
            found.setdefault(key, []).append(cell)
        return [
            Series(
                run,
                encoder,
                prompt,
                seed,
                views[cells[0].view].last,
                tuple(sorted(cells, key=lambda cell: cell.layer)),
            )
            for (prompt, run, encoder, seed), cells in sorted(found.items(), key=lambda item: item[0])
        ]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of its images in pixels, by the first one that there is."""
        for part in self.scan.parts:
            for picture in self.read(part.cells).values():
                if picture.image is not None:
                    return picture.image.size
        raise RunError(f"{self.store.url} has no picture that can be scored; all are missing.")

    @property
    def undrawn(self) -> int:
        """Cells that are neither drawn nor failed."""
        return sum(
            cell.id not in self._where and cell.id not in self.scan.failed for cell in self.plan.cells
        )

    def why_missing(self, cells: Collection[str]) -> dict[str, str]:
        """Of the cells that have no picture, why; no image is read."""
        found = {cell: f"not drawn: {self.scan.failed[cell]}" for cell in cells if cell in self.scan.failed}
        for name, wanted in self._by_part(cells).items():
            with self.store.fs.open(self.store.path(name), "rb") as file:
                table = pq.read_table(file, columns=["cell", "missing"])
            for row in table.to_pylist():
                if row["missing"] is not None and row["cell"] in wanted:
                    found[row["cell"]] = row["missing"]
        return found

    def read(self, cells: Collection[str]) -> dict[str, Picture]:
        """Load images; a picture that can't be decoded is missing, with the reason."""
        found = {cell: Picture(None, f"not drawn: {self.scan.failed[cell]}")
                 for cell in cells if cell in self.scan.failed}  # fmt: skip
        for name, wanted in self._by_part(cells).items():
            with self.store.fs.open(self.store.path(name), "rb") as file:
                table = pq.read_table(
                    file, columns=["cell", "missing", "image"], filters=[("cell", "in", wanted)]
                )
            for row in table.to_pylist():
                found[row["cell"]] = _decode(row["image"], row["missing"])
        return found

    def _by_part(self, cells: Collection[str]) -> dict[str, list[str]]:
        parts: dict[str, list[str]] = {}
        for cell in cells:
            if cell in self._where:
                parts.setdefault(self._where[cell], []).append(cell)
        return parts


def _doubled(views: Sequence[ResolvedView]) -> list[set[int]]:
    """Of each view, the layers that it has both as such and as the native tap."""
    doubled = []
    for view in views:
        plain = {layer for layer, native in view.rungs if not native}
        doubled.append({layer for layer, native in view.rungs if native and layer in plain})
    return doubled


def _decode(image: Mapping[str, bytes] | None, missing: str | None) -> Picture:
    if image is None or image["bytes"] is None:
        return Picture(None, missing or "there is no picture, and no reason was kept")
    try:
        return Picture(Image.open(io.BytesIO(image["bytes"])).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        return Picture(None, f"the picture can't be read: {error}")
