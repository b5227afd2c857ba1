"""Workers as processes of this machine: one a GPU, or on the CPU one a core.

They are spawned, so that a script that draws with them must be one that can be imported: its own work
stands below `if __name__ == "__main__":`.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from diffusion_lens.models.load import choose_device
from diffusion_lens.sweep.actor import Actor, Job
from diffusion_lens.sweep.plan import Cell
from diffusion_lens.sweep.pool import WorkerLostError
from diffusion_lens.sweep.table import Made

__all__ = ["ProcessTeam", "count_cores", "use_processes"]

_PATIENCE = 5.0  # seconds


class _Process:
    """A worker: a process, the device that it draws on, and the line to it."""

    def __init__(self, job: Job, device: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, there = context.Pipe()
        self.device = device
        self.process = context.Process(target=_work, args=(there, job, device, threads), daemon=True)
        self.process.start()
        there.close()  # so that the end of the process is the end of the line

    def end(self) -> None:
        self.line.close()  # at which the process ends by itself, once its batch is drawn
        self.process.join(_PATIENCE)
        self.process.terminate()
        self.process.join()


class ProcessTeam:
    """Workers on the devices of this machine, dealt in turn.

    Args:
        job: what they must know.
        devices: one a worker.
        threads: of each.
    """

    def __init__(self, job: Job, devices: Sequence[str], threads: int) -> None:
        self.job, self.free, self.threads = job, list(devices), threads
        self.workers: list[_Process] = []

    def start(self) -> _Process:
        """A worker on a device that has none."""
        worker = _Process(self.job, self.free.pop(0), self.threads)
        self.workers.append(worker)
        return worker

    def send(self, worker: _Process, cells: list[Cell]) -> None:
        """See `Team`."""
        with suppress(OSError):  # it is lost, which `take` will tell
            worker.line.send(cells)

    def wait(self, workers: Sequence[_Process]) -> _Process:
        """See `Team`."""
        lines = {worker.line: worker for worker in workers}
        return lines[wait(list(lines))[0]]  # type: ignore[index]

    def take(self, worker: _Process) -> list[Made]:
        """See `Team`; an error of the worker's is raised here."""
        try:
            answer = worker.line.recv()
        except (EOFError, OSError):
            worker.end()
            self.workers.remove(worker)
            self.free.append(worker.device)
            code = worker.process.exitcode
            raise WorkerLostError(f"the process on {worker.device} ended with exit code {code}.") from None
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.line.close()  # of all first, so that they end together
        for worker in self.workers:
            worker.end()


@contextmanager
def use_processes(job: Job, count: int | None) -> Iterator[tuple[ProcessTeam, list[_Process]]]:
    """A team on this machine, and so many workers: by default one a GPU, or one a core."""
    import torch

    device = choose_device(job.experiment.machine.device)
    if device == "cuda":
        cards = torch.cuda.device_count()
        count, threads = count or cards, torch.get_num_threads()
        devices = [f"cuda:{number % cards}" for number in range(count)]
    else:
        count = count or (count_cores() if device == "cpu" else 1)
        threads = max(1, count_cores() // count)
        devices = [device] * count
    team = ProcessTeam(job, devices, threads)
    try:
        yield team, [team.start() for _ in range(count)]
    finally:
        team.close()


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(line: Connection, job: Job, device: str, threads: int) -> None:
    """What a process does: load the model, then draw what comes, until the line ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that deals the batches
    import torch

    torch.set_num_threads(threads)
    machine = replace(job.experiment.machine, device=device)
    actor: Actor | None = None
    while True:
        try:
            cells = line.recv()
        except (EOFError, OSError):
            return
        try:
            actor = actor or Actor(replace(job, experiment=replace(job.experiment, machine=machine)))
            answer: Any = actor.draw(cells)
        except Exception as error:  # raised again where the batches come from
            answer = error
        line.send(answer)
