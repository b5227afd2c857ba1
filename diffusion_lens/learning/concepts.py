"""What a word is to mean: a few pictures, and the sentences that it stands in while it is learned."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from diffusion_lens.errors import InputError

__all__ = ["TEMPLATES", "Concept", "read_concept", "read_picture"]

_KINDS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_PIXELS = 80_000_000  # of one picture; a larger one is a mistake or an attack

# Neutral sentences; gradients then agree on what the pictures share. The word's place is {}.
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "object": (
        "a photo of {}", "a picture of {}", "an image of {}", "a drawing of {}", "{}", "a photo of a {}",
        "a picture of a {}", "an image of a {}", "a drawing of a {}", "a {}", "one {}", "the {}",
    ),
    "style": (
        "a photo in the style of {}", "a picture in the style of {}", "an image in the style of {}",
        "a drawing in the style of {}", "a painting in the style of {}", "in the style of {}",
        "a scene in the style of {}", "a detail in the style of {}",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Concept:
    """What one word is learned from.

    Attributes:
        token: how the word is written in prompts.
        pictures: three to five pictures are usual.
        captions: for each picture, the sentences it may be told by, in which {} is the word. A sentence
            that names what else is to be seen keeps that out of the word.
        init: text whose rows the word starts as; None for random rows.
        vectors: vectors by encoder.
        rate: the learning rate of its vectors; that of the settings if None.
    """

    token: str
    pictures: tuple[Image.Image, ...]
    captions: tuple[tuple[str, ...], ...]
    init: str | None = None
    vectors: int = 1
    rate: float | None = None

    def __post_init__(self) -> None:
        if not self.pictures:
            raise InputError(f"{self.token} has no pictures; give three to five.")
        if len(self.captions) != len(self.pictures):
            raise InputError(
                f"{self.token} has {len(self.pictures)} pictures and captions for {len(self.captions)}; "
                "give captions for each."
            )
        for caption in (one for several in self.captions for one in several):
            if caption.count("{}") != 1:
                raise InputError(f"The caption {caption!r} of {self.token} must hold {{}} once: the word.")

    def caption(self, picture: int, rng: np.random.Generator) -> str:
        """One of the sentences for a picture, with the word in its place."""
        choices = self.captions[picture]
        return choices[rng.integers(len(choices))].replace("{}", self.token)


def read_concept(
    folder: Path,
    token: str,
    init: str | None = None,
    templates: str | Sequence[str] = "object",
    vectors: int = 1,
    rate: float | None = None,
) -> Concept:
    """Read a folder of pictures.

    A text file beside a picture, `cat1.txt` beside `cat1.png`, holds sentences for that picture alone, one
    a line, in which {} or the token stands for the word. Other files are left alone.

    Args:
        folder: the pictures.
        token: how the word is written.
        init: text to start from.
        templates: "object", "style", or sentences with {}.
        vectors: vectors by encoder.
        rate: the learning rate.

    Raises:
        InputError: no folder, no pictures in it, or one that can't be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Give one with three to five pictures.")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _KINDS)
    if not files:
        raise InputError(
            f"{folder} holds no pictures (none of {', '.join(_KINDS)}). Put three to five pictures there."
        )
    if isinstance(templates, str) and templates not in TEMPLATES:
        raise InputError(f"{templates!r} are no templates. Allowed: {', '.join(TEMPLATES)}.")
    shared = TEMPLATES[templates] if isinstance(templates, str) else tuple(templates)
    captions = tuple(_own_captions(path, token) or shared for path in files)
    pictures = tuple(read_picture(path) for path in files)
    return Concept(token, pictures, captions, init, vectors, rate)


def _own_captions(picture: Path, token: str) -> tuple[str, ...]:
    beside = picture.with_suffix(".txt")
    if not beside.is_file():
        return ()
    try:
        lines = beside.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{beside} can't be read as text: {error}.") from None
    return tuple(line.strip().replace(token, "{}") for line in lines if line.strip())


def read_picture(path: Path) -> Image.Image:
    """A picture, upright, in RGB."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                if file.width * file.height > _PIXELS:
                    raise InputError(
                        f"{path} is huge: {file.width} x {file.height} pixels. Scale it down to the size "
                        "that the model draws."
                    )
                return ImageOps.exif_transpose(file).convert("RGB")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} is huge: {error} Scale it down to the size that the model draws."
        ) from None
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path} can't be read as a picture ({error}). Remove or replace it.") from None
