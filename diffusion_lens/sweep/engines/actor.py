"""`Actor`: a `Worker` in a process of its own, which sends images as bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image

from diffusion_lens.files import image_bytes
from diffusion_lens.runs.experiment import Experiment, Prompt
from diffusion_lens.runs.plan import Cell, Resolved
from diffusion_lens.runs.table import DrawnCell

if TYPE_CHECKING:
    from diffusion_lens.text.embedding_files import EmbeddingFile

__all__ = ["Actor", "Job"]


@dataclass(frozen=True)
class Job:
    """What a worker must know: the plan without its cells.

    Attributes:
        experiment: what is drawn.
        prompts: its prompts.
        resolved: what the model was when the run began.
        images: the images of the whole plan.
        embeddings: learned embeddings that prompts may hold.
        conditionings: the folder of what is drawn from, which every worker can open.
    """

    experiment: Experiment
    prompts: tuple[Prompt, ...]
    resolved: Resolved
    images: int
    embeddings: tuple["EmbeddingFile", ...] = ()
    conditionings: str | None = None


class Actor:
    """Draws batches of a job."""

    def __init__(self, job: Job) -> None:
        from diffusion_lens.sweep.conditionings import Conditionings
        from diffusion_lens.sweep.resolve import load_lens
        from diffusion_lens.sweep.worker import Worker

        self.kind = job.experiment.machine.image
        given = None if job.conditionings is None else Conditionings(job.conditionings)
        lens = load_lens(job.experiment, embeddings=job.embeddings, conditionings=given)
        self.worker = Worker(
            lens, job.experiment, job.prompts, job.resolved, job.images, conditionings=given
        )
        self.worker.batch_size = job.resolved.batch_size

    def draw(self, cells: Sequence[Cell]) -> list[DrawnCell]:
        """Draw one batch."""
        return [
            replace(one, image=image_bytes(one.image, self.kind))
            if isinstance(one.image, Image.Image)
            else one
            for one in self.worker.draw(cells)
        ]
