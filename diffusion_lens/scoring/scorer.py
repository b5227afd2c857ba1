"""`Scorer`: what answers checks on images."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from PIL.Image import Image

from diffusion_lens.checks.checks import Check, CheckedPrompt, Judgement

__all__ = ["Reference", "ScoreRequest", "Scorer", "Source"]

Reference = Literal["last", "before"]
"""An image of the same series: that of the last layer drawn, or that of the layer drawn before."""


@dataclass(frozen=True)
class Source:
    """Where images come from, as far as a record says so.

    Attributes:
        model: the model that drew them, by embedded name, folder or hub id; None if there is no record.
        revision: its revision.
    """

    model: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class ScoreRequest:
    """One image, and what is asked of it.

    Attributes:
        image: the image. Nothing says which layer it is of.
        checks: what is asked.
        references: the images that the scorer compares with (see `Scorer.references`); None for one that
            should be there and is missing.
        source: where the image comes from.
    """

    image: Image
    checks: Sequence[Check]
    references: Mapping[Reference, Image | None] = field(default_factory=dict)
    source: Source = Source()


class Scorer(ABC):
    """Answers checks on images: a detector, a model that answers questions, an exact checker, a measure.

    A subclass sets the first three attributes and writes `score`; the rest has defaults. `scoring.registry`
    shows how a scorer gets a name that the command line knows.

    Attributes:
        name: as it stands in the column `scorer` of the table of scores.
        kinds: the kinds of check that it can judge.
        version: changes whenever its answers could: model, revision, settings and the words it asks with.
        references: for a scorer that compares images, the image that each check (by its id) compares with.
    """

    name: str
    kinds: frozenset[str]
    version: str
    references: Mapping[str, Reference] = {}

    def prepare(self, prompts: Sequence[CheckedPrompt], source: Source) -> Sequence[CheckedPrompt]:
        """Put the checks of a study as this scorer needs them; by default as they are.

        Args:
            prompts: the prompts of the study and their checks.
            source: where the images come from.

        Returns:
            The prompts in the same order. Checks of other kinds than `kinds` are skipped afterwards.

        Raises:
            ScorerError: the scorer can't judge this study.
        """
        return prompts

    def why_not(self, check: Check) -> str | None:
        """Why it can't answer a check whatever an image shows; None if it can, or the image has to tell."""
        return None

    @abstractmethod
    def score(self, requests: Sequence[ScoreRequest]) -> Sequence[Sequence[Judgement]]:
        """Answer the checks of each image.

        Args:
            requests: images and their checks.

        Returns:
            For each request one judgement by check, in the order asked. A check that can't be judged has
            neither p nor label, and a reason.

        Raises:
            ScorerError: the scorer can't go on; what it answered before is kept.
        """
