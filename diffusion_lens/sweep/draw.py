"""`Run`: a run that this process holds, and how what is to do in it is drawn."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from PIL import Image
from tqdm.auto import tqdm

from diffusion_lens.errors import RunError
from diffusion_lens.files import image_bytes
from diffusion_lens.runs.plan import Cell, Plan, batches
from diffusion_lens.runs.session import Session
from diffusion_lens.runs.store import Scan, Store
from diffusion_lens.runs.table import DrawnCell
from diffusion_lens.runs.writer import Writer
from diffusion_lens.sweep.engines.choose import check_engine, draw_elsewhere
from diffusion_lens.sweep.engines.stop import use_stop
from diffusion_lens.sweep.job import Job

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.sweep.conditionings import Conditionings
    from diffusion_lens.sweep.worker import Worker
    from diffusion_lens.text.embedding_files import EmbeddingFile

__all__ = ["Estimate", "Run", "Summary"]

_WORTH_MEASURING = 500  # images of a plan; measuring the hardware takes as long as drawing a few
_GIVE_UP = 5  # batches of nothing but failures, before anything was drawn


@dataclass(frozen=True)
class Summary:
    """What a session did.

    Attributes:
        drawn: images drawn.
        failed: cells that could not be drawn, by reason.
        left: cells of this shard still to draw.
        seconds: how long it took, from the first batch to the last part.
        stopped: it was asked to stop.
    """

    drawn: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    left: int = 0
    seconds: float = 0.0
    stopped: bool = False


@dataclass(frozen=True)
class Estimate:
    """What is to be expected of images to draw.

    Attributes:
        seconds: on one device, without what loading takes.
        size: bytes on disk.
        device: where the images that it rests on were drawn; empty where several places were.
    """

    seconds: float
    size: float
    device: str = ""


@dataclass
class Run:
    """A run that this process holds.

    Attributes:
        store: its folder.
        plan: all cells of the experiment.
        scan: what was there when it was opened.
        shard: which of how many, from 1.
        orphaned: cells in the folder that the experiment does not ask for.
        lens: the live model, once it is needed.
        embeddings: learned embeddings that prompts may hold.
        conditionings: what is drawn from; the prompts are encoded if None.
        check_held: raises RunError if this process holds the run no more; see `use_lock`.
    """

    store: Store
    plan: Plan
    scan: Scan
    shard: tuple[int, int]
    orphaned: frozenset[str]
    lens: "DiffusionLens | None" = None
    embeddings: "tuple[EmbeddingFile, ...]" = ()
    conditionings: "Conditionings | None" = None
    check_held: Callable[[], None] = lambda: None

    @property
    def job(self) -> Job:
        """What its workers must know."""
        folder = None if self.conditionings is None else self.conditionings.store.url
        return Job.of(self.plan, self.embeddings, folder)

    def todo(self, *, retry_failed: bool = False) -> list[Cell]:
        """The cells of this shard that have no row; those that failed only if they are to be retried."""
        past = self.scan.done if retry_failed else self.scan.done | self.scan.failed.keys()
        return [cell for cell in self.plan.shard(*self.shard) if cell.id not in past]

    def estimate(self, images: int) -> Estimate | None:
        """What so many images will take, by those that this run has; None before its first session."""
        sessions = [one for one in self.store.sessions() if one.get("images") and one.get("seconds")]
        if not sessions or self.scan.bytes_per_image is None:
            return None
        spent = sum(session["seconds"] for session in sessions)
        drawn = sum(session["images"] for session in sessions)
        return Estimate(images * spent / drawn, images * self.scan.bytes_per_image)

    def rehearse(self) -> Estimate | None:
        """What is to do will take, by the images that are there, or else by a batch that is not kept.

        Nothing is written to the run. Drawing a batch loads the model; loading does not count.

        Returns:
            None where nothing is to do, or the batch could not be drawn.
        """
        todo = self.todo()
        known = self.estimate(len(todo))
        if known is not None or not todo:
            return known
        with TemporaryDirectory() as folder:
            # encoders that are not loaded need the states that the run keeps
            kept = self.plan.experiment.machine.encoders == "leave"
            worker = self._worker(self.store if kept else Store(folder))
            batch = worker.draw(next(batches(todo, self.plan.resolved.batch_size)))
        if all(one.failed is not None for one in batch):
            return None
        return replace(self._extrapolate(batch, len(todo)), device=str(worker.where["device"]))

    def draw(
        self,
        *,
        engine: str = "local",
        workers: int | None = None,
        retry_failed: bool = False,
        progress: bool = True,
        part_rows: int = 512,
        part_seconds: float = 30.0,
        on_estimate: Callable[[Estimate], object] = lambda estimate: None,
    ) -> Summary:
        """Draw what is to do. Ctrl-C stops after the batches at hand; all that was drawn is kept.

        Args:
            engine: "local", "processes" or "ray"; see `diffusion_lens.sweep.engines.choose`.
            workers: of the other engines than "local".
            retry_failed: draw failed cells too.
            progress: show a progress bar.
            part_rows: see `Writer`.
            part_seconds: see `Writer`.
            on_estimate: told once, after the first batch of the local engine, what the rest will take.

        Raises:
            InputError: no such engine, one that can't do without the text encoders as the experiment says,
                or a learned word that does not fit the model.
            RunError: the model is another than the run began with, nothing can be drawn, or another process
                took the run over.
            OutputError: the disk is full.
            OutOfMemoryError: not even one image fits.
        """
        encoders = self.plan.experiment.machine.encoders if self.conditionings is None else "load"
        check_engine(engine, encoders)
        todo = self.todo(retry_failed=retry_failed)
        if not todo:
            return Summary()
        before = self.store.failures() if retry_failed else {}
        session = Session(self.store, engine, self.shard)
        reasons: Counter[str] = Counter()
        once, copies = self.plan.draw_once(todo)
        drawn, start = 0, time.perf_counter()
        with (
            use_stop() as stopped,
            Writer(
                self.store,
                self.plan,
                part_rows=part_rows,
                part_seconds=part_seconds,
                check_held=self.check_held,
            ) as writer,
            tqdm(total=len(todo), unit="image", disable=not progress, desc="Drawing") as bar,
            # closed here and now, so that no worker outlives an error that is held on to
            closing(self._engine(engine, workers, once, stopped, session)) as drawing,
        ):
            for found in drawing:
                # written together, so that one is never there without the others
                batch = [one for first in found for one in (first, *_copies(first, copies))]
                writer.add(batch)
                failures = [one.failed for one in batch if one.failed is not None]
                reasons.update(failures)
                rest = len(todo) - len(batch)
                if engine == "local" and not drawn and len(batch) > len(failures) and rest:
                    on_estimate(self._extrapolate(batch, rest))
                drawn += len(batch) - len(failures)
                bar.update(len(batch))
                if not drawn and reasons.total() >= _GIVE_UP * self.plan.resolved.batch_size:
                    raise RunError(
                        f"None of the first {reasons.total()} images could be drawn: {failures[-1]}. Mend "
                        "it and give the same command with --retry-failed."
                    )
            asked = stopped()
        done = drawn + reasons.total()
        seconds = time.perf_counter() - start
        left = len(todo) - done
        _forget_failures(self.store, before, {cell.id for cell in todo} if not left else set(), writer)
        session.end(images=drawn, failed=reasons.total(), seconds=seconds, stopped=asked)
        return Summary(drawn, dict(reasons), left, seconds, asked)

    def _worker(self, store: Store) -> "Worker":
        """Who draws in this process, with the model, which is loaded where it is not yet."""
        from diffusion_lens.sweep.resolve import load_lens
        from diffusion_lens.sweep.worker import Worker

        if self.lens is None:
            self.lens = load_lens(self.plan.experiment, self.store, self.embeddings, self.conditionings)
        return Worker(self.lens, self.job, store=store, conditionings=self.conditionings)

    def _extrapolate(self, batch: list[DrawnCell], images: int) -> Estimate:
        """What so many images will take, by one batch."""
        kind = self.plan.experiment.machine.image
        seconds = [one.seconds for one in batch if one.failed is None]
        sizes = [
            len(image_bytes(one.image, kind)) for one in batch[:4] if isinstance(one.image, Image.Image)
        ]
        mean = sum(sizes) / len(sizes) if sizes else 0.0
        return Estimate(images * sum(seconds) / len(seconds), images * mean)

    def _engine(
        self,
        engine: str,
        workers: int | None,
        todo: Sequence[Cell],
        stopped: Callable[[], bool],
        session: "Session",
    ) -> Generator[list[DrawnCell], None, None]:
        cut = batches(todo, self.plan.resolved.batch_size)
        if engine == "local":
            yield from self._draw_here(todo, cut, stopped, session)
            return
        from diffusion_lens.models.memory import free_memory

        self.lens = None  # room for those of the workers
        free_memory()
        yield from draw_elsewhere(engine, self.job, cut, stopped, workers)

    def _draw_here(
        self,
        todo: Sequence[Cell],
        cut: Iterable[list[Cell]],
        stopped: Callable[[], bool],
        session: "Session",
    ) -> Iterator[list[DrawnCell]]:
        plan = self.plan
        worker = self._worker(self.store)
        worker.batch_size = session.remembered(worker.where["device"], plan.resolved.batch_size)
        size = plan.resolved.batch_size
        session.begin(**worker.where, asked_size=size, batch_size=worker.batch_size)
        if plan.experiment.machine.encoders == "release" and self.conditionings is None:
            worker.release_encoders(todo)
        if len(plan) >= _WORTH_MEASURING:
            session.note(**worker.measure_limit(plan.cells[0]))
        for cells in cut:
            if stopped():
                return
            batch = worker.draw(cells)
            session.note(batch_size=worker.batch_size)
            yield batch


def _copies(drawn: DrawnCell, copies: Mapping[str, Sequence[Cell]]) -> Iterator[DrawnCell]:
    """The other cells that are the same image, which take no time."""
    return (replace(drawn, cell=cell, seconds=0.0) for cell in copies.get(drawn.cell.id, ()))


def _forget_failures(
    store: Store, before: Mapping[str, list[dict[str, Any]]], retried: set[str], writer: Writer
) -> None:
    """Remove the records of failures of which every cell was retried."""
    for name, listed in before.items():
        if name not in writer.failure_files and {one["cell"] for one in listed} <= retried:
            store.remove([name])
