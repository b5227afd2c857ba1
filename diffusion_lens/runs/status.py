"""How far a run is, and how fast it went; read from its folder alone."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from diffusion_lens.runs.integrity import check_parts, read_part
from diffusion_lens.runs.manifest import load_plan
from diffusion_lens.runs.store import Store

__all__ = ["Status", "read_status"]


@dataclass(frozen=True)
class Status:
    """The state of a run.

    Attributes:
        claim: what its experiment is to answer.
        planned: cells of the experiment.
        done: those that have a row.
        missing: those of `done` that have no image, by reason.
        failed: cells that could not be drawn, by reason.
        left_alone: rows that are not of the experiment any more.
        size: bytes of all parts.
        rate: images drawn a second of one worker, by device; copies of an image take no time, and do not
            count.
        share: what part of the device's rate of matrix products that is, by device, where the run has
            measured it.
    """

    claim: str
    planned: int
    done: int
    missing: Mapping[str, int]
    failed: Mapping[str, int]
    left_alone: int
    size: int
    rate: Mapping[str, float]
    share: Mapping[str, float]

    @property
    def to_do(self) -> int:
        """Cells that were not tried yet."""
        return self.planned - self.done - sum(self.failed.values())


def read_status(url: str | os.PathLike[str], *, quick: bool = False) -> Status:
    """Look at a run.

    Args:
        url: the run's folder, or a URL of fsspec.
        quick: do not read the images, and so don't see whether their bytes changed.

    Raises:
        RunError: there is none, or it is damaged; the images to draw again are named.
    """
    store = Store(url)
    plan = load_plan(store.read_json("manifest.json"))
    scan = store.scan()
    if not quick:
        check_parts(store, plan, scan.parts)
    planned = {cell.id for cell in plan.cells}
    missing: Counter[str] = Counter()
    seconds: dict[str, list[float]] = {}
    for part in scan.parts:
        table = read_part(store, plan, part, ["cell", "missing", "seconds", "device"])
        for row in table.to_pylist():
            if row["cell"] in planned:
                if row["missing"] is not None:
                    missing[row["missing"]] += 1
                if row["seconds"]:  # else it is a copy of an image that was drawn
                    seconds.setdefault(row["device"], []).append(row["seconds"])
    rate = {device: len(times) / sum(times) for device, times in seconds.items()}
    return Status(
        claim=plan.experiment.claim,
        planned=len(plan),
        done=len(planned & scan.done),
        missing=dict(missing),
        failed=dict(Counter(reason for cell, reason in scan.failed.items() if cell in planned)),
        left_alone=len(scan.done - planned),
        size=sum(part.size for part in scan.parts),
        rate=rate,
        share=_shares(store, rate),
    )


def _shares(store: Store, rate: Mapping[str, float]) -> dict[str, float]:
    shares = {}
    for session in store.sessions():
        device = session.get("device", "")
        if device in rate and {"flops_per_image", "matmul_flops"} <= session.keys():
            shares[device] = rate[device] * session["flops_per_image"] / session["matmul_flops"]
    return shares
