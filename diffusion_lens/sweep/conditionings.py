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
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from safetensors.torch import load

from diffusion_lens.errors import InputError, RunError
from diffusion_lens.files import read_from
from diffusion_lens.images.denoise import ImageRequest
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.models.digest import ModelDigest
from diffusion_lens.runs.manifest import load_plan
from diffusion_lens.runs.plan import Cell, Plan
from diffusion_lens.runs.store import Store

if TYPE_CHECKING:
    from diffusion_lens.text.interventions import Only

__all__ = ["INSIDE", "NEGATIVE", "Conditionings"]

NEGATIVE = "conditionings/negative.safetensors"
INSIDE = "inside/"


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
                f"EXPERIMENT --out {shlex.quote(self.store.url)}."
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
            self._negative = Conditioning.from_flat(self._load(NEGATIVE))
        outside, inside = self._read[1][row["conditioning"]]
        return ImageRequest(outside, self._negative, cell.seed, inside if only else None, only)

    def _load(self, name: str) -> dict[str, Any]:
        content = read_from(self.store.fs, self.store.path(name))
        if hashlib.sha256(content).hexdigest() != self._shards[name]["sha256"]:
            raise RunError(f"{self.store.url}/{name} is not what was written. {self._again}")
        tensors: dict[str, Any] = load(content)
        return tensors


def _by_conditioning(tensors: Mapping[str, Any]) -> dict[str, tuple[Conditioning, Conditioning]]:
    """What the pipeline is called with and, in the places of `only(...)`, what is read there."""
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for key in sorted(tensors):  # safetensors has no order; images of one order of arguments share a batch
        name, _, argument = key.partition("/")
        inside = argument.startswith(INSIDE)
        found.setdefault(name, ({}, {}))[inside][argument.removeprefix(INSIDE)] = tensors[key]
    return {
        name: (Conditioning.from_flat(flat), Conditioning.from_flat(inside))
        for name, (flat, inside) in found.items()
    }
