"""What a word is to mean: a few images, and the sentences that the word stands in while it is learned."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.files import read_text
from diffusion_lens.learning.image_files import SUFFIXES, check_ground, read_image

__all__ = ["TEMPLATES", "Concept", "read_concept"]

log = logging.getLogger(__name__)

# Neutral sentences, so that gradients agree on what the images share. {} is the place of the word.
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "object": (
        "a photo of {}",
        "a picture of {}",
        "an image of {}",
        "a drawing of {}",
        "{}",
        "a photo of a {}",
        "a picture of a {}",
        "an image of a {}",
        "a drawing of a {}",
        "a {}",
        "one {}",
        "the {}",
    ),
    "style": (
        "a photo in the style of {}",
        "a picture in the style of {}",
        "an image in the style of {}",
        "a drawing in the style of {}",
        "a painting in the style of {}",
        "in the style of {}",
        "a scene in the style of {}",
        "a detail in the style of {}",
    ),
}


@dataclass(frozen=True)
class Concept:
    """What one embedding is learned from.

    Attributes:
        token: the placeholder token, which stands for the concept in prompts.
        images: the training images; three to five are usual.
        captions: for each image, the sentences that may describe it, in which {} is the placeholder
            token. What else a sentence names is explained by its own words, so that the embedding need
            not learn it.
        init: text whose own vectors the embedding starts as; None for random vectors.
        vectors: the number of vectors that the embedding has in each text encoder.
        lr: the learning rate of the embedding; that of the settings if None.
    """

    token: str
    images: tuple[Image.Image, ...]
    captions: tuple[tuple[str, ...], ...]
    init: str | None = None
    vectors: int = 1
    lr: float | None = None

    def __post_init__(self) -> None:
        if not self.images:
            raise InputError(f"{self.token} has no images; give three to five.")
        if len(self.captions) != len(self.images):
            raise InputError(
                f"{self.token} has {len(self.images)} images and captions for {len(self.captions)}; "
                "give captions for each."
            )
        for caption in (one for several in self.captions for one in several):
            if caption.count("{}") != 1:
                raise InputError(
                    f"The caption {caption!r} of {self.token} must hold {{}} once, where the token belongs."
                )

    def caption(self, image: int, rng: np.random.Generator) -> str:
        """One of the sentences for an image, drawn at random, with the token in its place."""
        choices = self.captions[image]
        return choices[rng.integers(len(choices))].replace("{}", self.token)


def read_concept(
    folder: Path,
    token: str,
    init: str | None = None,
    templates: str | Sequence[str] = "object",
    vectors: int = 1,
    lr: float | None = None,
    ground: str = "white",
) -> Concept:
    """Read a folder of training images.

    A text file beside an image, `cat1.txt` beside `cat1.png`, holds sentences for that image alone, one
    a line, in which {} or the token stands for the concept. Hidden files are skipped. Every other file
    that is not read is named in a warning.

    Args:
        folder: the folder.
        token: the placeholder token.
        init: text that the embedding starts as.
        templates: "object", "style", or sentences with {}.
        vectors: the number of vectors in each text encoder.
        lr: the learning rate.
        ground: the colour behind transparent pixels, by a name or code of CSS.

    Raises:
        InputError: there is no such folder, it holds no images, one can't be read, or no such colour.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Give a folder with three to five images.")
    check_ground(ground)
    shown = sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith("."))
    files = [path for path in shown if path.suffix.lower() in SUFFIXES]
    captions = {path.with_suffix(".txt") for path in files}
    unread = ", ".join(path.name for path in shown if path not in files and path not in captions)
    if not files:
        raise InputError(
            f"{folder} holds no images that can be read (none of {', '.join(SUFFIXES)}"
            f"{f'; it holds {unread}' if unread else ''}). Put three to five images there."
        )
    if unread:
        log.warning(
            "%s: not read: %s. Images are read from %s; save others as one of these.",
            folder,
            unread,
            ", ".join(SUFFIXES),
        )
    if isinstance(templates, str) and templates not in TEMPLATES:
        raise InputError(f"{templates!r} names no templates. Allowed: {', '.join(TEMPLATES)}.")
    shared = TEMPLATES[templates] if isinstance(templates, str) else tuple(templates)
    images = tuple(read_image(path, ground) for path in files)
    described = tuple(_own_captions(path, token) or shared for path in files)
    return Concept(token, images, described, init, vectors, lr)


def _own_captions(image: Path, token: str) -> tuple[str, ...]:
    """The sentences of the text file beside an image; none if there is no such file."""
    beside = image.with_suffix(".txt")
    if not beside.is_file():
        return ()
    try:
        lines = read_text(beside).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{beside} can't be read as text: {error}.") from None
    return tuple(line.strip().replace(token, "{}") for line in lines if line.strip())
