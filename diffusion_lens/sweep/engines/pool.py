"""Batches dealt to a team of workers, any of which may be lost."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from diffusion_lens.errors import RunError
from diffusion_lens.runs.plan import Cell
from diffusion_lens.runs.table import DrawnCell

__all__ = ["Team", "WorkerLostError", "draw_with"]

log = logging.getLogger(__name__)

_AHEAD = 2  # batches that a worker holds: one to draw, one to go on with
_LOSSES_OF_A_BATCH = 2  # workers that may be lost while they hold one batch first
_LOST_IN_A_ROW = 3  # workers in a row that may be lost before any of them drew anything


class WorkerLostError(Exception):
    """A worker is gone, and with it the batches that it held."""


@runtime_checkable
class Team(Protocol):
    """Starts workers and talks to them; each draws its batches in order."""

    def start(self) -> Any:
        """A new worker."""
        ...

    def send(self, worker: Any, cells: list[Cell]) -> None:
        """Give a worker a batch."""
        ...

    def wait(self, workers: Sequence[Any]) -> Any:
        """One of the workers whose first batch is drawn, or that is lost."""
        ...

    def take(self, worker: Any) -> list[DrawnCell]:
        """The first batch of such a worker.

        Raises:
            WorkerLostError: it is lost; it is not asked again.
        """
        ...


@dataclass
class _Batch:
    cells: list[Cell]
    losses: int = 0


def draw_with(
    team: Team, workers: list[Any], todo: Iterable[list[Cell]], stop: Callable[[], bool]
) -> Iterator[list[DrawnCell]]:
    """Draw batches with workers, in the order that they get done.

    Args:
        team: where workers come from.
        workers: workers without a batch; one that is lost is replaced.
        todo: the batches.
        stop: whether to begin no more.

    Raises:
        RunError: workers are lost one after the other before they draw anything.
    """
    coming, again = iter(todo), deque[_Batch]()

    def next_batch() -> _Batch | None:
        if stop():
            return None
        if again:
            return again.popleft()
        cells = next(coming, None)
        return None if cells is None else _Batch(cells)

    held: dict[Any, deque[_Batch]] = {worker: deque() for worker in workers}
    have_drawn: set[Any] = set()
    lost_in_a_row = 0
    while True:
        for _ in range(_AHEAD):
            for worker, batches in held.items():
                batch = next_batch() if len(batches) < _AHEAD else None
                if batch is not None:
                    batches.append(batch)
                    team.send(worker, batch.cells)
        busy = [worker for worker, batches in held.items() if batches]
        if not busy:
            return
        worker = team.wait(busy)
        try:
            made = team.take(worker)
        except WorkerLostError as error:
            lost = held.pop(worker)
            if stop():
                continue
            lost_in_a_row += worker not in have_drawn
            if lost_in_a_row > _LOST_IN_A_ROW:
                raise RunError(
                    f"{lost_in_a_row} workers in a row were lost before they drew anything: {error} Try "
                    "--engine local, which shows what is wrong."
                ) from None
            log.warning("A worker was lost; its batches are drawn by others.")
            workers[workers.index(worker)] = team.start()
            held.update({one: deque() for one in workers if one not in held})
            lost[0].losses += 1
            again.extend(batch for batch in lost if batch.losses < _LOSSES_OF_A_BATCH)
            for batch in lost:
                if batch.losses >= _LOSSES_OF_A_BATCH:
                    reason = f"{_LOSSES_OF_A_BATCH} workers were lost while they drew its batch"
                    yield [DrawnCell(cell, failed=reason) for cell in batch.cells]
            continue
        have_drawn.add(worker)
        lost_in_a_row = 0
        held[worker].popleft()
        yield made
