"""`Job`: what a worker must know of a run, in this process or in another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffusion_lens.runs.experiment import Experiment, Prompt
from diffusion_lens.runs.plan import Plan, Resolved

if TYPE_CHECKING:
    from diffusion_lens.text.embedding_files import EmbeddingFile

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """A plan without its cells, and what it is drawn with.

    Attributes:
        experiment: what is drawn.
        prompts: its prompts.
        resolved: what the model was when the run began.
        images: the images of the whole plan.
        embeddings: learned embeddings that prompts may hold.
        conditionings: the folder of what is drawn from, which every worker can open; None to encode the
            prompts.
    """

    experiment: Experiment
    prompts: tuple[Prompt, ...]
    resolved: Resolved
    images: int
    embeddings: "tuple[EmbeddingFile, ...]" = ()
    conditionings: str | None = None

    @classmethod
    def of(
        cls, plan: Plan, embeddings: Sequence["EmbeddingFile"] = (), conditionings: str | None = None
    ) -> "Job":
        """The job of a plan."""
        return cls(
            plan.experiment, plan.prompts, plan.resolved, len(plan), tuple(embeddings), conditionings
        )
