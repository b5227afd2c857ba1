"""`Actor`: a `Worker` in a process of its own, which sends images as bytes."""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from diffusion_lens.files import image_bytes
from diffusion_lens.runs.plan import Cell
from diffusion_lens.runs.table import DrawnCell
from diffusion_lens.sweep.job import Job

__all__ = ["Actor"]


class Actor:
    """Draws batches of a job."""

    def __init__(self, job: Job) -> None:
        from diffusion_lens.sweep.conditionings import Conditionings
        from diffusion_lens.sweep.resolve import load_lens
        from diffusion_lens.sweep.worker import Worker

        self.kind = job.experiment.machine.image
        given = None if job.conditionings is None else Conditionings(job.conditionings)
        lens = load_lens(job.experiment, embeddings=job.embeddings, conditionings=given)
        self.worker = Worker(lens, job, conditionings=given)
        self.worker.batch_size = job.resolved.batch_size

    def draw(self, cells: Sequence[Cell]) -> list[DrawnCell]:
        """Draw one batch."""
        return [
            replace(one, image=image_bytes(one.image, self.kind))
            if isinstance(one.image, Image.Image)
            else one
            for one in self.worker.draw(cells)
        ]
