"""`Turns`: one model shared by several visitors, each of whom gets it for one call after the other."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from diffusion_lens.errors import DiffusionLensError

__all__ = ["Done", "Failed", "Job", "Turns"]

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Done:
    """Everything was made."""


@dataclass(frozen=True)
class Failed:
    """It could not be made: a message for the visitor."""

    message: str


class Job(Generic[T]):
    """The work of one visitor; what it makes arrives in the visitor's own queue."""

    def __init__(self, work: Iterator[T], loop: asyncio.AbstractEventLoop) -> None:
        self._work, self._loop = work, loop
        self._made: asyncio.Queue[T | Done | Failed] = asyncio.Queue()
        self.cancelled = False

    async def next(self) -> T | Done | Failed:
        """What was made next; after `Done` or `Failed` nothing follows."""
        return await self._made.get()

    def cancel(self) -> None:
        """Draw no more of it."""
        self.cancelled = True

    def step(self) -> bool:
        """Take one turn; whether there may be another. Only for the thread of the model."""
        made: T | Done | Failed
        try:
            made = next(self._work)
        except StopIteration:
            made = Done()
        except DiffusionLensError as error:
            made = Failed(str(error))
        except Exception as error:  # the model's own code; the next visitor still gets it
            log.exception("Drawing failed")
            made = Failed(f"The model failed with {type(error).__name__}. The server's log says more.")
        try:
            self._loop.call_soon_threadsafe(self._made.put_nowait, made)
        except RuntimeError:  # the server stops
            return False
        return not isinstance(made, (Done, Failed))


class Turns(Generic[T]):
    """A thread that holds the model.

    Args:
        most: jobs that may be under way; a further one is refused.
    """

    def __init__(self, most: int = 8) -> None:
        self.most = most
        self._jobs: deque[Job[T]] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the turn under way, and take no other; returns when it is finished."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def __len__(self) -> int:
        """The jobs under way."""
        return sum(not job.cancelled for job in list(self._jobs))

    def submit(self, work: Iterator[T]) -> Job[T] | None:
        """Line up; None where too many are in line already."""
        job = Job(work, asyncio.get_running_loop())
        with self._changed:
            if len(self) >= self.most:
                return None
            self._jobs.append(job)
            self._changed.notify()
        return job

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._stopped)
                if self._stopped:
                    return
                job = self._jobs[0]  # stays in line while it is served, so that it is counted
            more = not job.cancelled and job.step()
            with self._changed:
                self._jobs.popleft()
                if more and not job.cancelled:
                    self._jobs.append(job)
