"""Images as a viewer shows them: read from files of a few known formats, and turned into 8-bit RGB."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from diffusion_lens.errors import InputError

__all__ = ["SUFFIXES", "as_rgb", "check_ground", "read_image"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""The files that are read as images."""

# Pillow also reads formats that start another program, such as PostScript through Ghostscript
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_PIXELS = 80_000_000  # of one image; a larger one is a mistake or an attack


def read_image(path: Path, ground: str = "white") -> Image.Image:
    """Read an image file, turn it upright, and give it as 8-bit RGB.

    Args:
        path: a file of one of `SUFFIXES`; its content decides its format.
        ground: the colour behind transparent pixels, by a name or code of CSS.

    Raises:
        InputError: the file can't be read, is of another format, or is larger than 80 million pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Pillow leaves open what it opened and could not read
            with open(path, "rb") as content, Image.open(content, formats=_FORMATS) as file:
                if file.width * file.height > _PIXELS:
                    raise InputError(
                        f"{path} is huge: {file.width} x {file.height} pixels. Scale it down to the size "
                        "that the model draws."
                    )
                return as_rgb(ImageOps.exif_transpose(file), ground)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} is huge: {error} Scale it down to the size that the model draws."
        ) from None
    except FileNotFoundError:
        raise InputError(f"There is no image {path}. Check its path.") from None
    except (OSError, ValueError, SyntaxError) as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "its content is of another kind" if unknown else error
        raise InputError(
            f"{path} can't be read as an image ({reason}). Remove it, or save it as one of "
            f"{', '.join(SUFFIXES)} with 8 or 16 bits a channel."
        ) from None


def check_ground(ground: str) -> None:
    """Make sure that a colour to lie behind transparent pixels is one.

    Raises:
        InputError: it is not.
    """
    try:
        ImageColor.getrgb(ground)
    except ValueError:
        raise InputError(
            f"{ground!r} is no colour to lie behind transparent pixels. Write a name or code of CSS, such "
            "as white or #808080."
        ) from None


def as_rgb(image: Image.Image, ground: str = "white") -> Image.Image:
    """An image of any mode as 8-bit RGB, the way a viewer shows it.

    Transparent pixels show the ground. Integers above 255 are read as 16 bits a channel, and floating
    point numbers from 0 to 1 as black to white.

    Args:
        image: the image.
        ground: the colour behind transparent pixels, by a name or code of CSS.

    Raises:
        ValueError: numbers that are of no known scale, or no colour of that name.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = _scale(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    below = Image.new("RGBA", image.size, ground)
    return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")


def _scale(image: Image.Image) -> Image.Image:
    """A grey image of large integers or floating point numbers in 8 bits."""
    numbers = np.asarray(image, dtype=np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    most = 255.0
    if image.mode == "F" and high <= 1:
        most = 1.0
    elif image.mode != "F" and (high > 255 or image.mode.startswith("I;16")):
        most = 65_535.0
    if not (low >= 0 and high <= most):
        raise ValueError(
            f"its numbers reach from {low:g} to {high:g}, of which black and white are unknown"
        )
    return Image.fromarray((numbers * (255 / most)).round().astype(np.uint8))
