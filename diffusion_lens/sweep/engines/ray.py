"""Workers as actors of a Ray cluster."""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from diffusion_lens.errors import InputError, RunError
from diffusion_lens.runs.plan import Cell
from diffusion_lens.runs.table import DrawnCell
from diffusion_lens.sweep.engines.actor import Actor
from diffusion_lens.sweep.engines.pool import WorkerLostError
from diffusion_lens.sweep.job import Job
from diffusion_lens.threads import children_wait_shortly

__all__ = ["use_ray"]

log = logging.getLogger(__name__)

_STARTS = 3  # times that Ray is started before that is given up


class _RayTeam:
    def __init__(self, ray: Any, actor: Any, job: Job) -> None:
        self.ray, self.actor, self.job = ray, actor, job
        self.drawing: dict[Any, deque[Any]] = {}

    def start(self) -> Any:
        worker = self.actor.remote(self.job)
        self.drawing[worker] = deque()
        return worker

    def send(self, worker: Any, cells: list[Cell]) -> None:
        self.drawing[worker].append(worker.draw.remote(cells))

    def wait(self, workers: Sequence[Any]) -> Any:
        first = {self.drawing[worker][0]: worker for worker in workers}
        (reference, *_), _ = self.ray.wait(list(first), num_returns=1)
        return first[reference]

    def take(self, worker: Any) -> list[DrawnCell]:
        try:
            return list(self.ray.get(self.drawing[worker].popleft()))
        except self.ray.exceptions.RayActorError as error:
            del self.drawing[worker]
            raise WorkerLostError(" ".join(str(error).strip().splitlines()[-3:])) from None
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None


@contextmanager
def use_ray(job: Job, count: int | None) -> Iterator[tuple[_RayTeam, list[Any]]]:
    """A team on a Ray cluster, and so many workers: by default one a GPU, or one.

    Raises:
        InputError: Ray is not installed.
        RunError: it does not start.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        # warnings of workers come through as failures; their chatter does not
        options = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": count, "include_dashboard": False}
        _start(ray, options)
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        count = count or gpus or 1
        actor = ray.remote(num_cpus=1, num_gpus=min(1.0, gpus / count))(Actor)
        team = _RayTeam(ray, actor, job)
        yield team, [team.start() for _ in range(count)]
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, options: dict[str, Any]) -> None:
    """Start Ray here, or join the cluster of RAY_ADDRESS."""
    reason = ""
    for attempt in range(_STARTS):
        try:
            with children_wait_shortly():
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


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise InputError(
            "The engine ray needs Ray, which is not installed: pip install 'diffusion-lens[ray]'. For "
            "one machine without it, --engine processes; for many processes, give each a --shard."
        ) from None
    return ray
