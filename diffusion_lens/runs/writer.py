"""`Writer`: images become bytes and parts on threads, while the next batch is drawn."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from PIL import Image

from diffusion_lens.files import image_bytes
from diffusion_lens.runs.plan import Plan
from diffusion_lens.runs.store import Store
from diffusion_lens.runs.table import DrawnCell, rows_of, schema_of

__all__ = ["Writer"]

_PART_BYTES = 128 * 2**20  # of pixels, before compression


class Writer:
    """Gathers what is drawn into parts of whole batches.

    A part is written when it has `part_rows` rows, or its pixels fill 128 MiB, or after `part_seconds`:
    the most that a killed run has to draw again. Errors of writing come up at the next call.

    Args:
        store: where to.
        plan: the plan that the cells belong to.
        part_rows: rows of a part.
        part_seconds: seconds after which a smaller part is written.
        check_held: raises if the run is not this process's any more; what waits is then dropped, for
            another process draws it.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        *,
        part_rows: int = 512,
        part_seconds: float = 30.0,
        check_held: Callable[[], None] = lambda: None,
    ) -> None:
        self.store, self.plan, self.check_held = store, plan, check_held
        self.part_rows, self.part_seconds = part_rows, part_seconds
        self.schema = schema_of(plan.prompts)
        self.failure_files: set[str] = set()
        self._encoders = ThreadPoolExecutor(2, "encode")
        self._disk = ThreadPoolExecutor(1, "write")
        self._waiting: list[tuple[DrawnCell, Future[bytes | None]]] = []
        self._bytes = 0
        self._since = time.monotonic()
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._waiting:
                self.check_held()
                self._flush()
            if self._writing is not None:
                self._writing.result()
        finally:
            self._encoders.shutdown()
            self._disk.shutdown()

    def add(self, batch: Sequence[DrawnCell]) -> None:
        """Take one batch.

        Raises:
            OutputError: an earlier part could not be written.
            RunError: the run is not this process's any more.
        """
        self.check_held()
        for one in batch:
            if isinstance(one.image, Image.Image):
                self._bytes += 3 * one.image.width * one.image.height
            self._waiting.append((one, self._encoders.submit(self._encode, one)))
        full = len(self._waiting) >= self.part_rows or self._bytes >= _PART_BYTES
        if full or time.monotonic() - self._since >= self.part_seconds:
            self._flush()

    def _encode(self, one: DrawnCell) -> bytes | None:
        if isinstance(one.image, Image.Image):
            return image_bytes(one.image, self.plan.experiment.machine.image)
        return one.image

    def _flush(self) -> None:
        if self._writing is not None:
            self._writing.result()  # one part at a time waits in memory
        self._writing = self._disk.submit(self._write, self._waiting)
        self._waiting, self._bytes, self._since = [], 0, time.monotonic()

    def _write(self, waiting: Sequence[tuple[DrawnCell, Future[bytes | None]]]) -> None:
        failures = [one for one, _ in waiting if one.failed is not None]
        if failures:
            prompts = self.plan.prompts
            listed = [
                {
                    "cell": one.cell.id,
                    "prompt": prompts[one.cell.prompt].prompt,
                    "layer": self.plan.reading(one.cell).layer,
                    "seed": one.cell.seed,
                    "reason": one.failed,
                }
                for one in failures
            ]
            self.failure_files.add(self.store.write_failures(listed))
        drawn = [(one, image.result()) for one, image in waiting if one.failed is None]
        if drawn:
            cells, images = zip(*drawn, strict=True)
            self.store.write_part(rows_of(self.plan, cells, images, self.schema))
