"""Questions whose answers are known: the package easy-vqa, small drawn scenes of one coloured shape each.

A model that answers questions is tried on these before it is believed elsewhere: offline, with the truth at
hand. Judges of known quality are tested on them in turn. `pip install easy-vqa` brings 5,000 images and
48,248 pairs of question and answer (by Victor Zhou, MIT licence).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from diffusion_lens.checks.checks import Check
from diffusion_lens.errors import ScorerError
from diffusion_lens.scoring.scorer import Scorer, ScoreRequest

__all__ = ["KnownAnswer", "accuracy", "known_answers"]

COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")


@dataclass(frozen=True)
class KnownAnswer:
    """A question on an image, and its answer.

    Attributes:
        image: the number of the image.
        path: its file.
        question: as it is put.
        answer: yes, no, a colour or a shape.
    """

    image: int
    path: str
    question: str
    answer: str

    @property
    def check(self) -> Check:
        """The question as a check; of colours and shapes all there are to choose from."""
        choices = next((words for words in (COLOURS, SHAPES) if self.answer in words), ())
        return Check("known", "global", self.question, self.answer, choices=choices)


def known_answers(
    limit: int | None = None, split: Literal["train", "test"] = "test", *, seed: int = 0
) -> list[KnownAnswer]:
    """Questions with their answers.

    Args:
        limit: so many of them, drawn at random; all if left out.
        split: the part of the package: 4,000 training or 1,000 test images.
        seed: of the draw.

    Raises:
        ScorerError: easy-vqa is not installed.
    """
    try:
        import easy_vqa
    except ImportError as error:
        raise ScorerError(
            "Questions with known answers are in the package easy-vqa. Install it: pip install easy-vqa."
        ) from error
    training = split == "train"
    texts, answers, images = easy_vqa.get_train_questions() if training else easy_vqa.get_test_questions()
    paths = easy_vqa.get_train_image_paths() if training else easy_vqa.get_test_image_paths()
    order = np.arange(len(texts))
    if limit is not None:
        order = np.sort(np.random.default_rng(seed).permutation(len(texts))[:limit])
    return [KnownAnswer(int(images[i]), str(paths[images[i]]), texts[i], answers[i]) for i in order]


def accuracy(scorer: Scorer, known: Sequence[KnownAnswer]) -> dict[str, float]:
    """How often a scorer is right, by kind of question, and how often it gives no answer.

    Returns:
        The shares "yes or no", "colour", "shape" and "all" right among the answers given, and "missing".

    Raises:
        ScorerError: there is nothing to ask, or the scorer stopped.
    """
    if not known:
        raise ScorerError("There are no questions to ask.")
    requests = []
    for one in known:
        with Image.open(one.path) as image:
            requests.append(ScoreRequest(image.convert("RGB"), [one.check]))
    labels = [judged[0].label for judged in scorer.score(requests)]
    kinds = [_kind(one.answer) for one in known]
    found = {"missing": sum(label is None for label in labels) / len(labels)}
    for kind in (*dict.fromkeys(kinds), "all"):
        answered = [
            label
            for label, of in zip(labels, kinds, strict=True)
            if label is not None and kind in (of, "all")
        ]
        if answered:
            found[kind] = sum(answered) / len(answered)
    return found


def _kind(answer: str) -> str:
    return "colour" if answer in COLOURS else "shape" if answer in SHAPES else "yes or no"
