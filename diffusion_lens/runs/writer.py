"""`Writer`: images become bytes and parts on threads, while the next batch is drawn."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from PIL import Image

from diffusion_lens.runs.plan import Plan
from diffusion_lens.runs.store import Store
from diffusion_lens.runs.table import Made, encode_image, rows_of, schema_of

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
    """

    def __init__(
        self, store: Store, plan: Plan, *, part_rows: int = 512, part_seconds: float = 30.0
    ) -> None:
        self.store, self.plan = store, plan
        self.part_rows, self.part_seconds = part_rows, part_seconds
        self.schema = schema_of(plan.prompts)
        self.failure_files: set[str] = set()
        self._encoders = ThreadPoolExecutor(2, "encode")
        self._disk = ThreadPoolExecutor(1, "write")
        self._waiting: list[tuple[Made, Future[bytes | None]]] = []
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
                self._flush()
            if self._writing is not None:
                self._writing.result()
        finally:
            self._encoders.shutdown()
            self._disk.shutdown()

    def add(self, batch: Sequence[Made]) -> None:
        """Take one batch.

        Raises:
            OutputError: an earlier part could not be written.
        """
        for made in batch:
            if isinstance(made.image, Image.Image):
                self._bytes += 3 * made.image.width * made.image.height
            self._waiting.append((made, self._encoders.submit(self._encode, made)))
        full = len(self._waiting) >= self.part_rows or self._bytes >= _PART_BYTES
        if full or time.monotonic() - self._since >= self.part_seconds:
            self._flush()

    def _encode(self, made: Made) -> bytes | None:
        if isinstance(made.image, Image.Image):
            return encode_image(made.image, self.plan.experiment.machine.image)
        return made.image

    def _flush(self) -> None:
        if self._writing is not None:
            self._writing.result()  # one part at a time waits in memory
        self._writing = self._disk.submit(self._write, self._waiting)
        self._waiting, self._bytes, self._since = [], 0, time.monotonic()

    def _write(self, waiting: Sequence[tuple[Made, Future[bytes | None]]]) -> None:
        failures = [made for made, _ in waiting if made.failed is not None]
        if failures:
            prompts = self.plan.prompts
            listed = [
                {
                    "cell": made.cell.id,
                    "prompt": prompts[made.cell.prompt].prompt,
                    "layer": made.cell.layer,
                    "seed": made.cell.seed,
                    "reason": made.failed,
                }
                for made in failures
            ]
            self.failure_files.add(self.store.write_failures(listed))
        drawn = [(made, image.result()) for made, image in waiting if made.failed is None]
        if drawn:
            made, images = zip(*drawn, strict=True)
            self.store.write_part(rows_of(self.plan, made, images, self.schema))
