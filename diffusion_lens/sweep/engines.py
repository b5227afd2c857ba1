"""Engines: where the batches of a sweep are drawn. What they draw does not depend on where.

`local` draws in this process, on one device.

`ray` (`pip install 'diffusion-lens[ray]'`) draws on all devices of a Ray cluster, one actor each. On one
machine it starts Ray by itself; on a cluster, start the sweep where `RAY_ADDRESS` points to it. Actors
pull whole batches, two ahead, so that no device waits; images come back as bytes to the one process that
writes the run. A worker that is lost costs its batches in flight, which others draw again; a batch that
takes two workers down is recorded as failed. Models are loaded from where each node finds them: an
embedded name, a hub id, or a folder on a shared disk.

`--shard i/n` needs no engine at all: n processes (a Slurm array, torchrun) share one run folder, and each
draws the batches dealt to it.

What an hour of one GPU yields, by the arithmetic of operations (an H200, 50 steps, guidance, 60 % of its
matrix product rate; not measured): SD 1.5 and 2.1 at 512 px some 20 000 images, SDXL at 1024 px 2 500,
SD3-medium at 1024 px with 28 steps 3 300, FLUX.1-dev at 1024 px with 28 steps 820. Cells are independent
and a batch takes seconds, so that n devices give n times as much until the one process that writes can't
take in more; then cut the run with `--shard`.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from diffusion_lens.errors import InputError, RunError
from diffusion_lens.sweep.experiment import Experiment, Prompt
from diffusion_lens.sweep.plan import Cell, Resolved
from diffusion_lens.sweep.table import Made, encode_image

__all__ = ["ENGINES", "Job", "draw_with_ray"]

log = logging.getLogger(__name__)

ENGINES = ("local", "ray")
_AHEAD = 2  # batches that a worker holds: one to draw, one to go on with
_DEATHS = 2  # workers that one batch may take down
_BARREN = 3  # workers in a row that may be lost before any of them drew anything
_STARTS = 3  # times that Ray is started before that is given up


@dataclass(frozen=True)
class Job:
    """What a worker must know: the plan without its cells.

    Attributes:
        experiment: what is drawn.
        prompts: its prompts.
        resolved: what the model was when the run began.
        images: the images of the whole plan.
    """

    experiment: Experiment
    prompts: tuple[Prompt, ...]
    resolved: Resolved
    images: int


class _Actor:
    """A `Worker` in a process of its own, which sends images as bytes."""

    def __init__(self, job: Job) -> None:
        from diffusion_lens.sweep.worker import Worker, load_lens

        self.kind = job.experiment.machine.image
        lens = load_lens(job.experiment)
        self.worker = Worker(lens, job.experiment, job.prompts, job.resolved, job.images)
        self.worker.batch_size = job.resolved.batch_size

    def draw(self, cells: list[Cell]) -> list[Made]:
        """Draw one batch."""
        return [
            replace(one, image=encode_image(one.image, self.kind))
            if isinstance(one.image, Image.Image)
            else one
            for one in self.worker.draw(cells)
        ]


@dataclass
class _Batch:
    cells: list[Cell]
    deaths: int = 0


def draw_with_ray(
    job: Job, todo: Iterable[list[Cell]], stop: Callable[[], bool], workers: int | None
) -> Iterator[list[Made]]:
    """Draw batches on a Ray cluster, in the order that they get done.

    Args:
        job: what workers must know.
        todo: the batches.
        stop: whether to begin no more.
        workers: how many; by default one a GPU, and one where there is none.

    Raises:
        InputError: Ray is not installed.
        RunError: workers can't be started.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        # warnings of workers come through as failures; their chatter does not
        options = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers, "include_dashboard": False}
        _start(ray, options)
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        count = workers or gpus or 1
        actor = ray.remote(num_cpus=1, num_gpus=min(1.0, gpus / count))(_Actor)
        yield from _Pool(ray, lambda: actor.remote(job), count).draw(todo, stop)
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, options: dict[str, Any]) -> None:
    """Start Ray here, or join the cluster of RAY_ADDRESS.

    Raises:
        RunError: it does not come up.
    """
    reason = ""
    for attempt in range(_STARTS):
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
            return
        # a bare Exception, where a busy machine takes longer than Ray's 30 seconds
        except Exception as error:
            ray.shutdown()
            reason = str(error)
            log.warning("Ray did not start (attempt %d of %d): %s", attempt + 1, _STARTS, reason)
    raise RunError(
        f"Ray does not start: {reason} Draw with --engine local, or start it by hand (ray start --head) "
        "and set RAY_ADDRESS."
    )


class _Pool:
    """The actors, and which batches each of them holds."""

    def __init__(self, ray: Any, start: Callable[[], Any], count: int) -> None:
        self.ray, self.start, self.count = ray, start, count
        self.held: dict[Any, deque[tuple[Any, _Batch]]] = {}
        self.barren = 0

    def draw(self, todo: Iterable[list[Cell]], stop: Callable[[], bool]) -> Iterator[list[Made]]:
        coming, again = iter(todo), deque[_Batch]()

        def following() -> _Batch | None:
            if stop():
                return None
            if again:
                return again.popleft()
            cells = next(coming, None)
            return None if cells is None else _Batch(cells)

        self.held = {self.start(): deque() for _ in range(self.count)}
        while True:
            for _ in range(_AHEAD):
                for actor, batches in self.held.items():
                    batch = following() if len(batches) < _AHEAD else None
                    if batch is not None:
                        batches.append((actor.draw.remote(batch.cells), batch))
            # an actor draws in order: only its first batch can be done
            first = {batches[0][0]: actor for actor, batches in self.held.items() if batches}
            if not first:
                return
            (reference, *_), _ = self.ray.wait(list(first), num_returns=1)
            actor = first[reference]
            try:
                made = self.ray.get(reference)
            except self.ray.exceptions.RayActorError as error:
                failed = self._bury(actor, again, error)
                if failed:
                    yield failed
                continue
            except self.ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, Exception) else error from None
            self.barren = 0
            self.held[actor].popleft()
            yield made

    def _bury(self, actor: Any, again: deque[_Batch], error: Exception) -> list[Made]:
        """Put the batches of a lost worker back and start another; what it died of may be given up."""
        self.barren += 1
        reason = str(error).strip().splitlines()
        if self.barren > _BARREN:
            raise RunError(
                f"{self.barren} Ray workers in a row were lost before they drew anything: "
                f"{' '.join(reason[-3:])} Try --engine local, which shows what is wrong."
            )
        log.warning("A Ray worker was lost; its batches are drawn by others.")
        lost = [batch for _, batch in self.held.pop(actor)]
        self.held[self.start()] = deque()
        lost[0].deaths += 1
        again.extend(batch for batch in lost if batch.deaths < _DEATHS)
        return [
            Made(cell, failed=f"{_DEATHS} workers were lost while they drew its batch")
            for batch in lost
            if batch.deaths >= _DEATHS
            for cell in batch.cells
        ]


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise InputError(
            "The engine ray needs Ray, which is not installed: pip install 'diffusion-lens[ray]'. For "
            "many processes without it, give each a --shard."
        ) from None
    return ray
