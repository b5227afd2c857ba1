"""Conditionings as files: the text arguments of every cell of an experiment, made once.

    manifest.json                           the plan, as in a run; size and sha256 of each shard
    cells.parquet                           one row a cell: what it is, its seed, and where its tensors are
    conditionings/00000.safetensors, ...    tensors by "<conditioning>/<argument of the pipeline>"
    conditionings/negative.safetensors      the negative text arguments, which all cells share
    stubs/                                  what a pipeline still asks of an encoder that is not loaded

A conditioning is named by the first cell that it is of; the cells of further seeds share it. Item 2 of an
argument that is a list of one tensor an image is stored as "<conditioning>/<argument> 2". What is read only
in the steps and blocks of `only(...)` is stored as "<conditioning>/inside/<argument>".
"""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import load, save

from diffusion_lens.errors import InputError, OutputError, RunError
from diffusion_lens.images.denoise import ImageRequest
from diffusion_lens.images.optimizations import Optimizations
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.models.digest import ModelDigest
from diffusion_lens.models.stub_encoders import stub_bytes
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.runs.manifest import describe_plan, load_plan
from diffusion_lens.runs.plan import Cell, Plan
from diffusion_lens.runs.store import Store

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.text.interventions import Only

__all__ = ["Conditionings", "Encoded", "encode_experiment"]

_NEGATIVE = "conditionings/negative.safetensors"
_INSIDE = "inside/"
_SHARD_BYTES = 2**28


@dataclass(frozen=True)
class Encoded:
    """What `encode_experiment` wrote.

    Attributes:
        cells: cells of the plan.
        conditionings: conditionings; the seeds of a prompt and reading share one.
        size: bytes of all shards.
        failed: cells that have none, by reason.
    """

    cells: int
    conditionings: int
    size: int
    failed: Mapping[str, int]


def encode_experiment(
    experiment: Experiment,
    out: str | os.PathLike[str],
    *,
    base: Path = Path(),
    lens: "DiffusionLens | None" = None,
    overwrite: bool = False,
    shard_bytes: int = _SHARD_BYTES,
) -> Encoded:
    """Write the conditionings of all cells of an experiment to a folder, which `Conditionings` reads.

    A cell whose prompt can't be read keeps the reason in its row.

    Args:
        experiment: what would be drawn.
        out: the folder, or a URL of fsspec.
        base: where relative paths of the experiment start.
        lens: a live model; the experiment's `model` is then only its name.
        overwrite: replace conditionings that are there.
        shard_bytes: a shard is begun when the last one holds as much.

    Raises:
        OutputError: the folder holds something already, or can't be written.
        DiffusionLensError: as `open_run`.
    """
    from diffusion_lens.sweep.open import look_at_run
    from diffusion_lens.sweep.resolve import load_lens
    from diffusion_lens.sweep.worker import Worker

    store = Store(out)
    if store.exists():
        if not (overwrite and "shards" in store.read_json("manifest.json")):
            raise OutputError(
                f"{store.url} holds a run or conditionings. Choose another folder; conditionings are "
                "replaced with --overwrite (overwrite=True)."
            )
        store.remove(["manifest.json"])
    run = look_at_run(experiment, out, base=base, lens=lens)
    plan = run.plan
    live = run.lens or load_lens(plan.experiment, embeddings=run.embeddings)
    worker = Worker(live, plan.experiment, plan.prompts, plan.resolved, len(plan), Optimizations())
    writer = _Writer(store, shard_bytes)
    for cell in plan.cells:
        prompt, reading = plan.prompts[cell.prompt].prompt, plan.reading(cell)
        row = {"cell": cell.id, "prompt": prompt, **reading.columns(), "seed": cell.seed}
        try:
            writer.add(row, (cell.prompt, cell.reading), worker.request(cell))
        except RunError:
            raise
        except Exception as error:  # a prompt that breaks an encoder, in whatever way, as in `Worker.draw`
            writer.refuse(row, worker.reason(error))
    for name, encoder in live.conditioner.encoders.items():
        store.write(f"stubs/{name}-{encoder.fingerprint}.safetensors", stub_bytes(encoder))
    shards = writer.finish()
    store.write_json("manifest.json", {**describe_plan(plan), "shards": shards})
    made = {row["conditioning"] for row in writer.rows} - {None}
    failed = Counter(row["failed"] for row in writer.rows if row["failed"])
    return Encoded(len(plan), len(made), sum(one["size"] for one in shards.values()), dict(failed))


class _Writer:
    """Gathers conditionings into shards."""

    def __init__(self, store: Store, shard_bytes: int) -> None:
        self.store, self.shard_bytes = store, shard_bytes
        self.rows: list[dict[str, Any]] = []
        self.shards: dict[str, dict[str, Any]] = {}
        self._tensors: dict[str, Any] = {}
        self._last: tuple[Any, str, str] = (None, "", "")

    def add(self, row: Mapping[str, Any], key: object, request: ImageRequest) -> None:
        """One cell; neighbours of one key share what the first one wrote."""
        if self._last[0] != key:
            if sum(one.nbytes for one in self._tensors.values()) >= self.shard_bytes:
                self._flush()
            if _NEGATIVE not in self.shards:
                self._write(_NEGATIVE, request.negative.to_flat())
            name = str(row["cell"])
            flat = request.positive.to_flat()
            if request.inside is not None:
                flat |= {f"{_INSIDE}{one}": tensor for one, tensor in request.inside.to_flat().items()}
            self._tensors |= {f"{name}/{one}": tensor for one, tensor in flat.items()}
            self._last = key, name, f"conditionings/{len(self.shards) - 1:05d}.safetensors"
        self.rows.append({**row, "conditioning": self._last[1], "shard": self._last[2], "failed": None})

    def refuse(self, row: Mapping[str, Any], reason: str) -> None:
        """One cell without a conditioning."""
        self.rows.append({**row, "conditioning": None, "shard": None, "failed": reason})

    def finish(self) -> dict[str, dict[str, Any]]:
        """Write the rest; the shards, by name."""
        if self._tensors:
            self._flush()
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(self.rows), buffer)
        self.store.write("cells.parquet", buffer.getvalue().to_pybytes())
        return self.shards

    def _flush(self) -> None:
        self._write(self._last[2], self._tensors)
        self._tensors = {}

    def _write(self, name: str, tensors: Mapping[str, Any]) -> None:
        content: bytes = save(dict(tensors))
        self.shards[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.store.write(name, content)


class Conditionings:
    """The conditionings of a folder of `encode_experiment`, to draw from without any text encoder.

    Args:
        url: the folder, or a URL of fsspec.

    Raises:
        InputError: it holds no conditionings.
        RunError: it is of another version, or a shard is missing or cut short.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.store = Store(url)
        manifest = self.store.read_json("manifest.json") if self.store.exists() else {}
        if "shards" not in manifest:
            raise InputError(
                f"{self.store.url} holds no conditionings. Write them with diffusion-lens encode "
                f"EXPERIMENT --out {self.store.url}."
            )
        self.plan = load_plan(manifest)
        self._shards: dict[str, dict[str, Any]] = manifest["shards"]
        for name, shard in self._shards.items():
            path = self.store.path(name)
            size = self.store.fs.size(path) if self.store.fs.exists(path) else None
            if size != shard["size"]:
                found = "missing" if size is None else f"cut short: {size} bytes of {shard['size']}"
                raise RunError(f"{self.store.url}/{name} is {found}. {self._again}")
        with self.store.fs.open(self.store.path("cells.parquet"), "rb") as file:
            columns = ["cell", "conditioning", "shard", "failed"]
            rows = pq.read_table(file, columns=columns).to_pylist()
        self._cells = {row["cell"]: row for row in rows}
        self._read: tuple[str, dict[str, tuple[Conditioning, Conditioning]]] = ("", {})
        self._negative: Conditioning | None = None

    @property
    def _again(self) -> str:
        return "Encode the experiment again, with --overwrite or into another folder."

    def check(self, plan: Plan, cells: Sequence[Cell]) -> None:
        """Refuse to draw cells that these conditionings are not of.

        Raises:
            RunError: they were made with another model, in another dtype, or without one of the cells.
        """
        mine, asked = self.plan.resolved, plan.resolved
        dtype = plan.experiment.machine.dtype or asked.dtype
        if mine.dtype != dtype:
            raise RunError(
                f"The conditionings in {self.store.url} are of {mine.dtype}, and the run is of {dtype}. "
                f"Give --dtype {mine.dtype}, or encode again."
            )
        if mine.fingerprint != asked.fingerprint:
            parts = ModelDigest.parse(mine.fingerprint).differences(ModelDigest.parse(asked.fingerprint))
            raise RunError(
                f"The conditionings in {self.store.url} are of another model, or of another dtype "
                f"than {mine.dtype}: its {', '.join(parts)} changed. Encode the experiment with this model."
            )
        absent = [cell for cell in cells if cell.id not in self._cells]
        if absent:
            first = absent[0]
            raise RunError(
                f"{self.store.url} lacks the conditionings of {len(absent)} of {len(cells)} cells, such as "
                f"layer {first.layer}, seed {first.seed} of {plan.prompts[first.prompt].prompt!r}. "
                f"Encode the same experiment, with the same options."
            )

    def failed(self, cell: str) -> str | None:
        """Why a cell has no conditioning; None where it has one."""
        reason: str | None = self._cells[cell]["failed"]
        return reason

    def request(self, cell: Cell, only: "Only | None" = None) -> ImageRequest:
        """What the image of a cell is made from.

        Args:
            cell: the cell.
            only: the steps and blocks that its reading is limited to.

        Raises:
            RunError: a shard is not what was written.
        """
        row = self._cells[cell.id]
        if self._read[0] != row["shard"]:
            self._read = row["shard"], _by_conditioning(self._load(row["shard"]))
        if self._negative is None:
            self._negative = Conditioning.from_flat(self._load(_NEGATIVE))
        outside, inside = self._read[1][row["conditioning"]]
        return ImageRequest(outside, self._negative, cell.seed, inside if only else None, only)

    def _load(self, name: str) -> dict[str, Any]:
        content = self.store.fs.cat_file(self.store.path(name))
        if hashlib.sha256(content).hexdigest() != self._shards[name]["sha256"]:
            raise RunError(f"{self.store.url}/{name} is not what was written. {self._again}")
        tensors: dict[str, Any] = load(content)
        return tensors


def _by_conditioning(tensors: Mapping[str, Any]) -> dict[str, tuple[Conditioning, Conditioning]]:
    """What the pipeline is called with and, in the places of `only(...)`, what is read there."""
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for key in sorted(tensors):  # safetensors has no order; images of one order of arguments share a batch
        name, _, argument = key.partition("/")
        inside = argument.startswith(_INSIDE)
        found.setdefault(name, ({}, {}))[inside][argument.removeprefix(_INSIDE)] = tensors[key]
    return {
        name: (Conditioning.from_flat(flat), Conditioning.from_flat(inside))
        for name, (flat, inside) in found.items()
    }
