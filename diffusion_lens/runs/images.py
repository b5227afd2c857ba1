"""The images of a saved run, as scorers need them: by prompt, and a bounded number at a time."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from diffusion_lens.errors import RunError
from diffusion_lens.files import ImageOrReason, read_image
from diffusion_lens.runs.integrity import read_part
from diffusion_lens.runs.manifest import load_plan
from diffusion_lens.runs.plan import Cell, Plan
from diffusion_lens.runs.store import Scan, Store
from diffusion_lens.text.reading import ResolvedReading

__all__ = ["RunImages", "Series", "name_of", "names_of_readings", "read_run"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """The cells of one prompt that differ by the layer alone, ascending.

    Attributes:
        run: the run's name; where the run reads a layer in several ways, with what differs between them.
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
        self._parts = {part.name: part for part in self.scan.parts}
        self._where = {cell: part.name for part in self.scan.parts for cell in part.cells}

    @property
    def name(self) -> str:
        """The run's name: its folder's."""
        return name_of(self.store)

    def series(self) -> list[Series]:
        """All series of the run, those of a prompt together; cells that are not drawn yet are left out."""
        readings = self.plan.resolved.readings
        names = names_of_readings(self.plan, self.name)
        found: dict[tuple[int, str, str, int], list[Cell]] = {}
        for cell in self.plan.cells:
            if cell.id in self._where or cell.id in self.scan.failed:
                encoder = readings[cell.reading].reading.encoder
                found.setdefault((cell.prompt, names[cell.reading], encoder, cell.seed), []).append(cell)
        return [
            Series(
                run,
                encoder,
                prompt,
                seed,
                readings[cells[0].reading].depth,
                tuple(sorted(cells, key=lambda cell: readings[cell.reading].layer)),
            )
            for (prompt, run, encoder, seed), cells in sorted(found.items(), key=lambda item: item[0])
        ]

    @property
    def reading(self) -> str:
        """How all of its layers are read, as "readout native, pooled hold"; what differs names a series."""
        shared, differing = _kind(self.plan.resolved.readings[0]), _differing(self.plan)
        return ", ".join(
            f"{name} {part}" for name, part in shared.items() if part and name not in differing
        )

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of its images in pixels, by the first one that there is."""
        for part in self.scan.parts:
            for found in self.read(part.cells).values():
                if found.image is not None:
                    return found.image.size
        raise RunError(f"{self.store.url} has no image that can be scored; all are missing.")

    @property
    def undrawn(self) -> int:
        """Cells that are neither drawn nor failed."""
        return sum(
            cell.id not in self._where and cell.id not in self.scan.failed for cell in self.plan.cells
        )

    def why_missing(self, cells: Collection[str]) -> dict[str, str]:
        """Of the cells that have no image, why; no image is read."""
        found = {cell: f"not drawn: {self.scan.failed[cell]}" for cell in cells if cell in self.scan.failed}
        for name, wanted in self._by_part(cells).items():
            table = read_part(self.store, self.plan, self._parts[name], ["cell", "missing"])
            for row in table.to_pylist():
                if row["missing"] is not None and row["cell"] in wanted:
                    found[row["cell"]] = row["missing"]
        return found

    def read(self, cells: Collection[str]) -> dict[str, ImageOrReason]:
        """Load images; an image that can't be decoded is missing, with the reason.

        Raises:
            RunError: bytes changed since they were written; the images to draw again are named.
        """
        failed = self.scan.failed
        found = {
            cell: ImageOrReason(None, f"not drawn: {failed[cell]}") for cell in cells if cell in failed
        }
        for name, wanted in self._by_part(cells).items():
            columns, filters = ["cell", "missing", "image"], [("cell", "in", wanted)]
            table = read_part(self.store, self.plan, self._parts[name], columns, filters)
            for row in table.to_pylist():
                found[row["cell"]] = read_image(row["image"], row["missing"])
        return found

    def _by_part(self, cells: Collection[str]) -> dict[str, list[str]]:
        parts: dict[str, list[str]] = {}
        for cell in cells:
            if cell in self._where:
                parts.setdefault(self._where[cell], []).append(cell)
        return parts


def name_of(store: Store) -> str:
    """A run's name: its folder's."""
    return store.root.rstrip("/").rpartition("/")[2] or store.url


def names_of_readings(plan: Plan, name: str) -> list[str]:
    """What the run is called in the scores of each reading of its plan: its name, and what tells it apart.

    Args:
        plan: the plan; with readings that are added to it, what tells the others apart changes too.
        name: the run's name.
    """
    readings, differs = plan.resolved.readings, _differing(plan)
    twice = _doubled(readings)
    names = []
    for one in readings:
        told = [part for kind, part in _kind(one).items() if kind in differs and part]
        again = " at the native tap" if one.native and _place(one) in twice else ""
        names.append(f"{name} ({', '.join(told)}){again}" if told else f"{name}{again}")
    return names


def read_run(
    url: str | os.PathLike[str], wanted: Mapping[str, Sequence[Any]], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The rows of a run's experiment in the order of its plan, images as they are stored.

    Images that are of its folder and not of the experiment any more are left out.

    Args:
        url: the run's folder, or a URL of fsspec.
        wanted: by column `prompt`, `layer` and `seed`, the values that are read alone. Values that the run
            lacks are left to the caller.
        columns: the columns to read; all if None.

    Raises:
        RunError: there is no run, or it is damaged, or holds no image of its experiment.
    """
    store = Store(url)
    plan = load_plan(store.read_json("manifest.json"))
    # parts are in the order in which workers and resumed sweeps wrote them
    place = {cell.id: number for number, cell in enumerate(plan.cells)}
    scan = store.scan()
    if scan.done.isdisjoint(place):
        what = "image of its experiment" if scan.done else "image"
        raise RunError(f"{store.url} holds no {what} yet. Draw it: give the command of the sweep again.")
    filters = [(name, "in", list(values)) for name, values in wanted.items()]
    read = None if columns is None else list(dict.fromkeys([*columns, "cell"]))
    tables = [read_part(store, plan, part, read, filters or None).to_pandas() for part in scan.parts]
    table = pd.concat(tables, ignore_index=True)
    planned = table["cell"].isin(place)
    if not planned.all():
        log.info(
            "%d images of %s are not of its experiment any more; they are left out.",
            len(table) - planned.sum(),
            store.url,
        )
    table = table[planned].sort_values("cell", key=lambda cells: cells.map(place)).reset_index(drop=True)
    found: pd.DataFrame = table if columns is None else table[list(columns)]
    return found


def _differing(plan: Plan) -> set[str]:
    """In what the readings of one layer differ."""
    kinds = [_kind(one) for one in plan.resolved.readings]
    return {name for name in kinds[0] if len({one[name] for one in kinds}) > 1}


def _kind(reading: ResolvedReading) -> dict[str, str]:
    """What tells readings of one layer and encoder from each other, by its name."""
    columns = reading.reading.columns()
    names = ("readout", "pooled", "slots", "interventions")
    return {**{name: columns[name] for name in names}, "site": reading.reading.site.series}


def _place(reading: ResolvedReading) -> tuple[str | int, ...]:
    return (*_kind(reading).values(), reading.reading.encoder, reading.layer)


def _doubled(readings: Sequence[ResolvedReading]) -> set[tuple[str | int, ...]]:
    """The layers that are read both as such and, with other slots, natively."""
    keys: dict[bool, set[tuple[str | int, ...]]] = {True: set(), False: set()}
    for one in readings:
        keys[one.native].add(_place(one))
    return keys[True] & keys[False]
