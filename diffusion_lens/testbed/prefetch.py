"""Scenes rendered and captioned in worker processes, a chunk ahead of the training steps.

Rendering is Python and numpy, some thousand scenes a second on a core, and would keep a GPU waiting. What
it makes is encoded by the process that trains, on its device and in large batches. A chunk depends on its
seed and number alone, so that training sees the same scenes with any number of workers.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8

from diffusion_lens.errors import DiffusionLensError
from diffusion_lens.testbed import scenes
from diffusion_lens.testbed.scenes import Scene

__all__ = ["Drawn", "Prefetcher", "Stream"]


@dataclass(frozen=True)
class Drawn:
    """Rendered scenes and what is said of each: its caption, and with some streams its twin's."""

    pictures: UInt8[np.ndarray, "scene side side 3"]
    texts: list[tuple[str, ...]]


@dataclass(frozen=True)
class Stream:
    """Which scenes there are, and what is said of them; both functions are importable by name.

    Attributes:
        draw: scene `index` of the stream `seed`.
        write: the texts of that scene.
        side: of the rendered images, in pixels.
    """

    draw: Callable[[int, int], Scene]
    write: Callable[[Scene, int, int], tuple[str, ...]]
    side: int

    def render(self, seed: int, first: int, count: int) -> Drawn:
        """Draw scenes `first` to `first + count` of the stream `seed`."""
        drawn = [self.draw(seed, index) for index in range(first, first + count)]
        texts = [self.write(scene, seed, index) for index, scene in enumerate(drawn, first)]
        return Drawn(scenes.render_batch(drawn, self.side), texts)


@dataclass
class Prefetcher:
    """Chunks of a stream by number, the next one always being rendered by the workers.

    Attributes:
        stream: what is rendered.
        size: scenes in a chunk.
        workers: processes; with none, a chunk is rendered when it is asked for.
    """

    stream: Stream
    size: int
    workers: int = 0
    _pool: ProcessPoolExecutor | None = None
    _pending: dict[tuple[int, int], list[Future[Drawn]]] = field(default_factory=dict)

    def get(self, seed: int, number: int) -> Drawn:
        """Chunk `number` of the stream `seed`; the workers then begin with the one after it.

        Raises:
            DiffusionLensError: a worker process was ended from outside.
        """
        if not self.workers:
            return self.stream.render(seed, number * self.size, self.size)
        try:
            parts = self._pending.pop((seed, number), None) or self._submit(seed, number)
            for futures in self._pending.values():  # of a position that was left
                for future in futures:
                    future.cancel()
            self._pending = {(seed, number + 1): self._submit(seed, number + 1)}
            made = [part.result() for part in parts]
        except BrokenProcessPool as error:
            raise DiffusionLensError(
                "A worker process that renders scenes was ended from outside, perhaps for its memory. "
                "Resume from the last checkpoint, with fewer workers."
            ) from error
        texts = [text for part in made for text in part.texts]
        return Drawn(np.concatenate([part.pictures for part in made]), texts)

    def _submit(self, seed: int, number: int) -> list[Future[Drawn]]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context)
        edges = np.linspace(0, self.size, self.workers + 1).round().astype(int) + number * self.size
        render = partial(self.stream.render, seed)
        return [self._pool.submit(render, int(first), int(last - first)) for first, last in pairwise(edges)]

    def close(self) -> None:
        """End the workers; chunks that they have begun are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool, self._pending = None, {}
