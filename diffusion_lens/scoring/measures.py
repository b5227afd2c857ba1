"""Measures of how alike two images are, from 0 to 1.

| measure | of two images |
|---|---|
| pixel | 1 - mean absolute difference / 255 |
| ssim | structural similarity (Wang et al. 2004, doi 10.1109/TIP.2003.819861), cut off at 0 |
| clip | cosine of CLIP's image vectors, cut off at 0 |
| dinov2 | cosine of DINOv2's class tokens (Oquab et al. 2024, arXiv 2304.07193), cut off at 0 |
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from PIL.Image import Image, Resampling

__all__ = ["Measure", "PixelMeasure", "SsimMeasure", "VectorMeasure", "clip_measure", "load_dinov2", "ssim"]


_WINDOW = 7  # side of SSIM's window in pixels; at most the image's
_SPAN = 255.0  # the range of grey values


@runtime_checkable
class Measure(Protocol):
    """Compares images.

    Attributes:
        name: the measure.
        version: changes whenever its numbers could.
    """

    name: str
    version: str

    def describe(self, images: Sequence[Image]) -> Sequence[Any]:
        """What it compares, of each image."""
        ...

    def compare(self, one: Any, other: Any) -> float:
        """How alike two of them are, 0 to 1."""
        ...


class PixelMeasure:
    """Mean absolute difference of all pixels and channels."""

    name, version = "pixel", "pixel"

    def describe(self, images: Sequence[Image]) -> list[np.ndarray]:
        """The pixels."""
        return [np.asarray(image.convert("RGB")) for image in images]

    def compare(self, one: np.ndarray, other: np.ndarray) -> float:
        """1 for the same image, 0 for black against white."""
        first, second = same_size(one, other)
        return 1 - float(np.abs(first.astype(float) - second).mean()) / 255


class SsimMeasure:
    """Structural similarity of the grey images."""

    name, version = "ssim", f"ssim, window {_WINDOW}"

    def describe(self, images: Sequence[Image]) -> list[np.ndarray]:
        """The grey values (ITU-R 601)."""
        return [np.asarray(image.convert("L")) for image in images]

    def compare(self, one: np.ndarray, other: np.ndarray) -> float:
        """1 for the same image; it can be below 0 for opposite ones."""
        first, second = same_size(one, other)
        return ssim(first.astype(float), second.astype(float))


class VectorMeasure:
    """Cosine of vectors that a network makes of images.

    Args:
        name: "clip" or "dinov2".
        version: model and weights.
        embed: makes unit vectors `[image, width]`.
    """

    def __init__(self, name: str, version: str, embed: Callable[[Sequence[Image]], np.ndarray]) -> None:
        self.name, self.version, self._embed = name, f"{name}, {version}", embed

    def describe(self, images: Sequence[Image]) -> Sequence[Any]:
        """The vectors."""
        return list(self._embed([image.convert("RGB") for image in images])) if images else []

    def compare(self, one: Any, other: Any) -> float:
        """Their cosine."""
        return float(one @ other)


def ssim(one: Float[np.ndarray, "y x"], other: Float[np.ndarray, "y x"]) -> float:
    """Mean structural similarity (Wang et al. 2004, eq. 13), with a uniform window.

    As scikit-image computes it by default: sample covariances, K1 = 0.01, K2 = 0.03, and the mean over
    the pixels whose window lies inside the image.

    Args:
        one: grey values, 0 to 255.
        other: likewise, of the same shape.
    """
    window = min(_WINDOW, *one.shape)
    views = [
        np.lib.stride_tricks.sliding_window_view(picture, (window, window)) for picture in (one, other)
    ]
    means = [view.mean((-2, -1)) for view in views]
    count = window * window
    correction = count / max(1, count - 1)
    squares = [(view**2).mean((-2, -1)) for view in views]
    variances = [correction * (square - mean**2) for square, mean in zip(squares, means, strict=True)]
    covariance = correction * ((views[0] * views[1]).mean((-2, -1)) - means[0] * means[1])
    first, second = (0.01 * _SPAN) ** 2, (0.03 * _SPAN) ** 2
    above = (2 * means[0] * means[1] + first) * (2 * covariance + second)
    below = (means[0] ** 2 + means[1] ** 2 + first) * (variances[0] + variances[1] + second)
    return float((above / below).mean())


def same_size(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The second image at the size of the first; images of one series have one size anyway."""
    if one.shape == other.shape:
        return one, other
    from PIL import Image as images

    height, width = one.shape[:2]
    return one, np.asarray(images.fromarray(other).resize((width, height), Resampling.BICUBIC))


def clip_measure(model: str, device: str = "cpu") -> VectorMeasure:
    """Cosines of a CLIP's image vectors.

    Raises:
        ScorerError: the model isn't there, or is no CLIP.
    """
    from diffusion_lens.models.clip import Clip
    from diffusion_lens.models.digest_parts import digest_module
    from diffusion_lens.scoring.weights import load_parts

    clip = load_parts("the scorer similarity-clip", model, lambda: Clip.from_pretrained(model, device))
    version = f"{Path(model).name} {digest_module(clip.vision)}"
    return VectorMeasure("clip", version, lambda images: clip.embed_images(images).numpy())


def load_dinov2(model: str, device: str = "cpu", revision: str | None = None) -> VectorMeasure:
    """Cosines of DINOv2's class tokens.

    Raises:
        ScorerError: it isn't there.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModel

    from diffusion_lens.models.digest_parts import digest_module
    from diffusion_lens.scoring.weights import load_parts

    def load() -> VectorMeasure:
        processor = AutoImageProcessor.from_pretrained(model, revision=revision, backend="pil")
        network = AutoModel.from_pretrained(model, revision=revision).to(device).eval()

        @torch.no_grad()
        def embed(images: Sequence[Image]) -> np.ndarray:
            pixels = processor(list(images), return_tensors="pt")["pixel_values"].to(network.device)
            tokens = network(pixel_values=pixels).last_hidden_state[:, 0]
            return np.asarray(torch.nn.functional.normalize(tokens, dim=-1).float().cpu())

        return VectorMeasure("dinov2", f"{model} {digest_module(network)}", embed)

    return load_parts("the scorer similarity-dinov2", model, load)
