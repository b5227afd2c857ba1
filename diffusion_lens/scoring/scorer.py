"""`Scorer`: what answers checks.

A scorer is anything with these attributes and this method: a detector, a model that answers questions,
an exact checker of drawn scenes, people. It never sees from which layer an image comes.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from PIL.Image import Image

from diffusion_lens.checks.checks import Check, Judgement

__all__ = ["Scorer"]


@runtime_checkable
class Scorer(Protocol):
    """Answers checks on images.

    Attributes:
        name: as it stands in the column `scorer` of the table of scores.
        kinds: the kinds of check that it can judge.
        version: changes whenever its answers could: model id, revision and the words it is asked with.
    """

    name: str
    kinds: frozenset[str]
    version: str

    def score(
        self, images: Sequence[Image], checks: Sequence[Sequence[Check]]
    ) -> Sequence[Sequence[Judgement]]:
        """Answer the checks of each image.

        Args:
            images: the images.
            checks: what to ask of each of them.

        Returns:
            One judgement by check, in the order asked. A check that can't be judged has no label and a
            reason.
        """
        ...
