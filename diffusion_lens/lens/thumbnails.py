"""Small WebP copies of images, as bytes and as the address that a page can hold inside itself."""

import base64
import io

from PIL import Image

__all__ = ["data_address", "thumbnail"]

_QUALITY = 82  # of lossy WebP, 0 to 100


def thumbnail(image: bytes | Image.Image, side: int = 128) -> bytes:
    """A WebP whose longer side is at most `side`; smaller images keep their pixels, without loss.

    Args:
        image: an image, or its encoded bytes.
        side: in pixels.

    Raises:
        OSError: the bytes are no image.
    """
    opened = image if isinstance(image, Image.Image) else Image.open(io.BytesIO(image))
    opened = opened.convert("RGB")
    small = max(opened.size) <= side
    if not small:
        opened.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # an image of 64 px is smaller without loss than most are with it, and stays sharp when enlarged
    if small and max(opened.size) <= 64:
        opened.save(buffer, "WEBP", lossless=True, method=4)
    else:
        opened.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return buffer.getvalue()


def data_address(content: bytes, kind: str = "image/webp") -> str:
    """The `data:` address of encoded bytes."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
