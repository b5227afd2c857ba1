"""Write the conditionings of an experiment to a folder; see `diffusion_lens.sweep.conditionings`."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save

from diffusion_lens.errors import OutputError, RunError
from diffusion_lens.images.denoise import ImageRequest
from diffusion_lens.images.optimizations import Optimizations
from diffusion_lens.models.stub_encoders import stub_bytes
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.runs.manifest import describe_plan
from diffusion_lens.runs.store import Store
from diffusion_lens.sweep.conditionings import INSIDE, NEGATIVE
from diffusion_lens.sweep.open import look_at_run
from diffusion_lens.sweep.resolve import load_lens
from diffusion_lens.sweep.worker import Worker

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens

__all__ = ["Encoded", "encode_experiment"]

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
    store = Store(out)
    former: dict[str, Any] = store.read_json("manifest.json") if store.exists() else {}
    if former and not (overwrite and "shards" in former):
        raise OutputError(
            f"{store.url} holds a run or conditionings. Choose another folder; conditionings are "
            "replaced with --overwrite (overwrite=True)."
        )
    run = look_at_run(experiment, out, base=base, lens=lens, anew=True)
    plan = run.plan
    live = run.lens or load_lens(plan.experiment, embeddings=run.embeddings)
    worker = Worker(live, run.job, optimizations=Optimizations())
    if former:  # only now: what is refused leaves them as they are
        there = store.names("conditionings", ".safetensors")  # a manifest is data, and removes nothing else
        stubs = store.names("stubs", ".safetensors")  # an encoder may be another one now
        store.remove(["manifest.json", *stubs, *(name for name in there if name in former["shards"])])
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
            if NEGATIVE not in self.shards:
                self._write(NEGATIVE, request.negative.to_flat())
            name = str(row["cell"])
            flat = request.positive.to_flat()
            if request.inside is not None:
                flat |= {f"{INSIDE}{one}": tensor for one, tensor in request.inside.to_flat().items()}
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
