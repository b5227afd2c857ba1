"""How near drawn images are to the images that a word was learned from, and to their prompts.

The two measures of Gal et al. 2023 (arXiv 2208.01618, section 5.1), as their code has them: *image
similarity*, the mean cosine between every drawn and every given image (64 drawings of "a photo of
{}"); and *text similarity*, the mean cosine between drawings of a prompt and the prompt without the
word. Two reference points: the given images put out as they are (whatever the prompt says), and the
prompts drawn without the word.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from PIL.Image import Image

from diffusion_lens.models.clip import Clip
from diffusion_lens.scoring.measures import load_dinov2
from diffusion_lens.scoring.weights import load_parts

__all__ = ["SAMPLES", "Embed", "image_similarity", "load_embed", "text_similarity", "without_word"]

SAMPLES = 64
"""Drawings of a prompt in the paper."""

Embed = Callable[[Sequence[Image]], Float[np.ndarray, "image width"]]
"""Makes unit vectors of images: those of CLIP, or of DINOv2."""


def image_similarity(embed: Embed, drawn: Sequence[Image], given: Sequence[Image]) -> np.ndarray:
    """The mean cosine of each drawing to the given images, `[drawing]`.

    Where the two are the same images, an image is not compared with itself.

    Args:
        embed: what makes vectors of images.
        drawn: the drawings.
        given: the images that the word was learned from.
    """
    cosines = np.asarray(embed(drawn)) @ np.asarray(embed(given)).T
    if drawn is given:
        count = len(given)
        return (cosines.sum(1) - np.diag(cosines)) / max(1, count - 1)
    return cosines.mean(1)


def text_similarity(clip: Clip, drawn: Sequence[Image], prompts: Sequence[str]) -> np.ndarray:
    """The cosine of each drawing to its prompt, which should be without the word, `[drawing]`."""
    images = clip.embed_images(list(drawn)).numpy()
    texts = clip.embed_texts(list(prompts)).numpy()
    return (images * texts).sum(1)


def without_word(prompt: str) -> str:
    """A prompt without its {}: "a photo of {} on grass" becomes "a photo of on grass"."""
    return re.sub(r"\s+", " ", prompt.replace("{}", " ")).strip()


def load_embed(kind: str, model: str) -> Embed | None:
    """What compares images.

    Args:
        kind: "clip", "dinov2" or "none".
        model: of that kind: an embedded name, a folder or a hub id.

    Raises:
        ScorerError: it can't be loaded.
    """
    if kind == "clip":
        clip = load_parts("the metric", model, lambda: Clip.from_pretrained(model))
        return lambda images: clip.embed_images(list(images)).numpy()
    if kind == "dinov2":
        measure = load_dinov2(model)
        return lambda images: np.stack(measure.describe(list(images)))
    return None
