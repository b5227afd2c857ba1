"""How near texts and images are to each other as vectors: by layer of an encoder, and in CLIP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diffusion_lens.errors import InputError, LayerError, PromptError
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.clip import Clip
from diffusion_lens.text.encode import check_prompts
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.reading import Reading
from diffusion_lens.text.states import LayerStates

__all__ = [
    "WordVectors",
    "caption_similarities",
    "clip_similarities",
    "cosines",
    "read_words",
]


@dataclass(frozen=True)
class WordVectors:
    """Words as a text encoder has them at each of its layers.

    Attributes:
        words: the words.
        layers: the layers; 0 is the embedding output.
        vectors: states after the encoder's final norm, the mean over a word's tokens.
    """

    words: tuple[str, ...]
    layers: tuple[int, ...]
    vectors: Float[Tensor, "layer word width"]

    def similarities(self, layer: int) -> pd.DataFrame:
        """Cosine similarity of all words at a layer, words by words.

        Raises:
            LayerError: that layer was not read.
        """
        if layer not in self.layers:
            raise LayerError(f"Layer {layer} was not read; read were {list(self.layers)}.")
        values = cosines(self.vectors[self.layers.index(layer)])
        return pd.DataFrame(values, self.words, self.words)

    def approach(self, word: str) -> pd.DataFrame:
        """Cosine similarity of every other word to one, by layer: columns `layer`, `word`, `similarity`.

        Raises:
            InputError: that word was not read.
        """
        if word not in self.words:
            raise InputError(f"{word!r} was not read; read were {', '.join(self.words)}.")
        parts = [
            self.similarities(layer)[word]
            .drop(word)
            .rename_axis("word")
            .reset_index(name="similarity")
            .assign(layer=layer)
            for layer in self.layers
        ]
        return pd.concat(parts, ignore_index=True)[["layer", "word", "similarity"]]


def cosines(
    vectors: Float[Tensor, "row width"], others: Float[Tensor, "column width"] | None = None
) -> Float[np.ndarray, "row column"]:
    """Cosine similarity of each vector to each of the others, or to each of themselves."""
    one = torch.nn.functional.normalize(vectors.double(), dim=-1)
    if others is not None:
        return (one @ torch.nn.functional.normalize(others.double(), dim=-1).T).numpy()
    values = one @ one.T
    values = (values + values.T) / 2
    return values.fill_diagonal_(1.0).numpy()


def _read(lens: DiffusionLens, texts: Sequence[str], encoder: str | None) -> tuple[Reader, LayerStates]:
    """All layers of one encoder for some texts, and what read them."""
    name = encoder or next(iter(lens.conditioner.slots))
    readings, reader = lens.readings("all", Reading(encoder=name)), lens.reader()
    return reader, reader.encode(check_prompts(texts), readings)[name]


def read_words(
    lens: DiffusionLens, words: Sequence[str], template: str = "a {}", encoder: str | None = None
) -> WordVectors:
    """Read words, each within a short text, at every layer of an encoder.

    Args:
        lens: a lens on the pipeline.
        words: the words.
        template: the text around a word, which takes the place of "{}".
        encoder: the pipeline's name for it; the first one if None.

    Raises:
        InputError: the template has no place for the word, or a word is given twice.
        PromptError: a word is cut off.
    """
    if template.count("{}") != 1:
        raise InputError(f"The template {template!r} needs one {{}}, where the word goes.")
    if len(set(words)) != len(words):
        raise InputError(f"A word is given twice: {', '.join(words)}.")
    start = template.index("{}")
    texts = [template.replace("{}", word) for word in words]
    reader, states = _read(lens, texts, encoder)
    norm = lens.conditioner.encoders[states.encoder].final_norm
    vectors = []
    for index, (text, word) in enumerate(zip(texts, words, strict=True)):
        places = reader.places_of(states[index])
        positions = places.prompt.covering(start, start + len(places.expand(word)))
        if not positions:
            raise PromptError(f"No token of {text!r} stands for {word!r}: it was cut off.")
        state = states.states[:, index, list(positions)].to(lens.conditioner.device)
        vectors.append(norm(state).float().mean(1).cpu())
    layers = tuple(layer for layer in states.layers if isinstance(layer, int))
    return WordVectors(tuple(words), layers, torch.stack(vectors, 1))


def caption_similarities(
    lens: DiffusionLens, captions: Sequence[str], layer: int | None = None, encoder: str | None = None
) -> pd.DataFrame:
    """Cosine similarity of whole captions: the mean of their states, pads left out.

    For all-MiniLM-L6-v2 at its last layer this is the embedding that it was trained to give (mean pooling;
    Reimers and Gurevych 2019, arXiv 1908.10084).

    Args:
        lens: a lens on the pipeline.
        captions: each once.
        layer: which layer; the last if None.
        encoder: the pipeline's name for it; the first one if None.

    Raises:
        LayerError: no such layer.
    """
    _, states = _read(lens, captions, encoder)
    norm = lens.conditioner.encoders[states.encoder].final_norm
    chosen = states.layer(states.layers[-1] if layer is None else layer).to(lens.conditioner.device)
    mask = states.mask[..., None]
    mean = (norm(chosen).float().cpu() * mask).sum(1) / mask.sum(1)
    return pd.DataFrame(cosines(mean), states.prompts, states.prompts)


def clip_similarities(
    clip: Clip, images: Mapping[str, Image.Image], captions: Sequence[str]
) -> pd.DataFrame:
    """Cosine similarity of images and captions in CLIP, named images by captions."""
    values = cosines(clip.embed_images(list(images.values())), clip.embed_texts(captions))
    return pd.DataFrame(values, list(images), list(captions))
