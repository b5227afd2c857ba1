"""The concepts of the LEGO study: what shows each, how it is said, and how the oracle recognises it.

A concept is a tint, a size, a number, a relation or a way up. The scenes of the denoiser's training hold
nothing upside down, and no word of the model means it, so that this concept asks for more than the model
can draw. The oracle reads it from the image turned by half a turn about the horizontal axis: upside down
is what is recognised better that way.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from diffusion_lens.learning.lego import SENTENCES
from diffusion_lens.testbed import oracle, scenes
from diffusion_lens.testbed.oracle import Reading
from diffusion_lens.testbed.scenes import SIZES, Scene, arrange, relation

__all__ = ["RELATED", "TRUTHS", "Truth", "check", "read_images"]

SEED = 95_001  # of the scenes
IMAGES = 5  # of the concept, and of the subject alone
RELATED = "tree"  # what the subject of a relation is related to
RELATION_SENTENCES = (
    "a {subject} {} a tree",
    "a photo of a {subject} {} a tree",
    "a picture of a {subject} {} a tree",
)


@dataclass(frozen=True)
class Truth:
    """A concept, what shows it, and how it is said.

    Attributes:
        subject: the object of the training images.
        scene: draws the scene of an image, given the object.
        seen: whether what the oracle read shows the concept.
        word: the model's own word for the concept; None where it has none.
        positive: words that describe it, for the Context Loss.
        negative: words that do not describe it.
        sentences: sentences for the concept's and the subject's tokens.
        flipped: the image is turned upside down.
    """

    subject: str
    scene: Callable[[str, np.random.Generator], Scene]
    seen: Callable[[Reading], bool]
    word: str | None
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    sentences: tuple[str, ...] = SENTENCES
    flipped: bool = False

    def prompt(self, name: str) -> str:
        """The concept asked of an object, with {} for its word."""
        return self.sentences[0].replace("{subject}", name)

    def images(self, seed: int) -> tuple[Image.Image, ...]:
        """Training images of the concept on its subject."""
        rng = np.random.default_rng((SEED, seed))
        drawn = scenes.render_batch([self.scene(self.subject, rng) for _ in range(IMAGES)])
        return tuple(Image.fromarray(image[::-1] if self.flipped else image) for image in drawn)

    def subject_images(self, seed: int) -> tuple[Image.Image, ...]:
        """Training images of the subject alone."""
        rng = np.random.default_rng((SEED, seed, 1))
        drawn = scenes.render_batch([arrange([(self.subject, None)], rng) for _ in range(IMAGES)])
        return tuple(map(Image.fromarray, drawn))


def _tint(colour: str, subject: str, words: str, others: str) -> Truth:
    return Truth(
        subject,
        lambda name, rng: arrange([(name, colour)], rng),
        lambda seen: any(item.colour == colour for item in seen.objects),
        colour,
        tuple(words.split()),
        tuple(others.split()),
    )


def _is_left(seen: Reading) -> bool:
    trees = [item for item in seen.objects if item.name == RELATED]
    others = [item for item in seen.objects if item.name != RELATED]
    return any(relation(other, tree) == "left" for tree in trees for other in others)


def _doubled(seen: Reading) -> bool:
    names = [item.name for item in seen.objects]
    return any(names.count(name) == 2 for name in names)


TRUTHS: dict[str, Truth] = {
    "blue": _tint("blue", "dog", "azure sapphire cobalt", "dog pale scarlet"),
    "purple": _tint("purple", "chicken", "violet lavender", "chicken pale golden"),
    "tiny": Truth(
        "bus",
        lambda name, rng: arrange([(name, None)], rng, size="small"),
        lambda seen: any(item.size == SIZES["small"] for item in seen.objects),
        "small",
        ("tiny", "little", "mini"),
        ("bus", "huge", "enormous"),
    ),
    "doubled": Truth(
        "ball",
        lambda name, rng: arrange([(name, None)] * 2, rng),
        _doubled,
        "two",
        ("double", "pair", "couple"),
        ("ball", "one", "single"),
        ("{} {subject}", "a photo of {} {subject}", "a picture of {} {subject}"),
    ),
    "left of": Truth(
        "star",
        lambda name, rng: arrange([(name, None), (RELATED, None)], rng, where="left"),
        _is_left,
        "to the left of",
        ("left", "beside", "before"),
        ("star", "right", "above"),
        RELATION_SENTENCES,
    ),
    "upside down": Truth(
        "cow",
        lambda name, rng: arrange([(name, None)], rng),
        lambda seen: bool(seen.objects),
        None,
        ("inverted", "overturned", "flipped"),
        ("cow", "upright", "standing"),
        flipped=True,
    ),
}


def read_images(truth: Truth, images: np.ndarray) -> list[tuple[Reading, set[str]]]:
    """For each image, what shows the concept, and the names of all that is there.

    Where the concept is a way up, it is shown by what is known better when the image is turned.
    """
    plain = oracle.read(images)
    if not truth.flipped:
        return [(seen, {item.name for item in seen.objects}) for seen in plain]
    found = []
    for upright, turned in zip(plain, oracle.read(np.ascontiguousarray(images[:, ::-1])), strict=True):
        better = max(turned.fits, default=0.0) > max(upright.fits, default=0.0)
        shown = turned if better else replace(turned, objects=())
        found.append((shown, {item.name for item in (turned if better else upright).objects}))
    return found


def check(truth: Truth, other: str, shown: Reading, there: set[str]) -> dict[str, bool]:
    """Whether an image shows the concept, the subject asked for, both, and the training subject unasked."""
    concept, subject = truth.seen(shown), other in there
    leak = truth.subject in there and truth.subject != other
    return {"concept": concept, "subject": subject, "both": concept and subject, "leak": leak}
