"""Workers as processes of this machine: one a GPU, or on the CPU one a core.

On Linux they are forked from a server, a process that has imported torch and this package once, and has
touched no device. Elsewhere each is spawned, and imports by itself. In both ways a script that draws with
them must be one that can be imported: its own work stands below `if __name__ == "__main__":`.
"""

import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from diffusion_lens.errors import DiffusionLensError, RunError
from diffusion_lens.models.load import choose_device
from diffusion_lens.models.quiet import drop_torchvision_notes
from diffusion_lens.runs.plan import Cell
from diffusion_lens.runs.table import DrawnCell
from diffusion_lens.sweep.engines.actor import Actor
from diffusion_lens.sweep.engines.pool import WorkerLostError
from diffusion_lens.sweep.job import Job
from diffusion_lens.threads import children_wait_shortly, count_cores

__all__ = ["ProcessTeam", "count_cores", "use_processes"]

_PATIENCE = 5.0  # seconds


class _Process:
    """A worker: a process, the device that it draws on, and the line to it."""

    def __init__(self, job: Job, device: str, threads: int) -> None:
        context = _context()
        self.line, there = context.Pipe()
        self.device = device
        self.process = context.Process(target=_work, args=(there, job, device, threads), daemon=True)
        with _ignoring_interrupts(), children_wait_shortly():
            self.process.start()
        there.close()  # so that the end of the process is the end of the line

    def end(self, deadline: float) -> None:
        """Let it end by itself, once its batch is drawn, or by force at the deadline."""
        self.line.close()
        self.process.join(max(0.0, deadline - time.monotonic()))
        self.process.kill()
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
        return lines[wait(list(lines))[0]]

    def take(self, worker: _Process) -> list[DrawnCell]:
        """See `Team`; an error of the worker's is raised here."""
        try:
            answer = worker.line.recv()
        except (EOFError, OSError):
            worker.end(time.monotonic())
            self.workers.remove(worker)
            self.free.append(worker.device)
            code = worker.process.exitcode
            hint = " A script draws below `if __name__ == '__main__':`." if code == 1 else ""
            raise WorkerLostError(
                f"the process on {worker.device} ended with exit code {code}.{hint}"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.line.close()  # of all first, so that they end together
        deadline = time.monotonic() + _PATIENCE
        for worker in self.workers:
            worker.end(deadline)


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


def _context() -> Any:
    """How processes are started; the server starts with the first of them, and ends with this process."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["diffusion_lens.sweep.worker"])
    return context


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes started in the body ignore Ctrl-C: the process that deals the batches stops them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say so; the process will say so itself
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(line: Connection, job: Job, device: str, threads: int) -> None:
    """What a process does: load the model, then draw what comes, until the line ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the process that deals the batches
        signal.signal(number, signal.SIG_IGN)
    drop_torchvision_notes()
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
        except DiffusionLensError as error:  # raised again where the batches come from
            answer = error
        except Exception as error:
            answer = RunError(f"A worker failed: {type(error).__name__}: {error}")
        try:
            line.send(answer)
        except OSError:  # nobody listens any more
            return
