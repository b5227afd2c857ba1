"""How near texts and pictures are to each other as vectors: by layer of an encoder, and in CLIP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from diffusion_lens.errors import InputError, LayerError, PromptError
from diffusion_lens.figures.panels import DPI, as_text, make_axes, text_width, use_style
from diffusion_lens.figures.style import COLOURS, PAGE
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.clip import Clip
from diffusion_lens.models.tokens import align_prompt, find_tokenizer
from diffusion_lens.text.encode import check_prompts
from diffusion_lens.text.reading import Reading
from diffusion_lens.text.states import LayerStates

__all__ = [
    "WordVectors",
    "caption_similarities",
    "clip_similarities",
    "cosines",
    "draw_approach",
    "draw_matrices",
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
            self.similarities(layer)[word].drop(word).rename_axis("word").reset_index(name="similarity")
            .assign(layer=layer)
            for layer in self.layers
        ]  # fmt: skip
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


def _read(lens: DiffusionLens, texts: Sequence[str], encoder: str | None) -> LayerStates:
    """All layers of one encoder for some texts."""
    name = encoder or next(iter(lens.conditioner.slots))
    readings = lens.readings("all", Reading(encoder=name))
    return lens.reader().encode(check_prompts(texts), readings)[name]


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
    states = _read(lens, texts, encoder)
    conditioner = lens.conditioner
    tokenizer = find_tokenizer(conditioner.pipe, conditioner.slots[states.encoder])
    norm = conditioner.encoders[states.encoder].final_norm
    vectors = []
    for index, (text, word) in enumerate(zip(texts, words, strict=True)):
        read = align_prompt(tokenizer, text, states.input_ids[index].tolist())
        positions = read.covering(start, start + len(word))
        if not positions:
            raise PromptError(f"No token of {text!r} stands for {word!r}: it was cut off.")
        state = states.states[:, index, list(positions)].to(conditioner.device)
        vectors.append(norm(state).float().mean(1).cpu())
    return WordVectors(tuple(words), states.layers, torch.stack(vectors, 1))


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
    states = _read(lens, captions, encoder)
    norm = lens.conditioner.encoders[states.encoder].final_norm
    chosen = states.layer(states.layers[-1] if layer is None else layer).to(lens.conditioner.device)
    mask = states.mask[..., None]
    mean = (norm(chosen).float().cpu() * mask).sum(1) / mask.sum(1)
    return pd.DataFrame(cosines(mean), states.prompts, states.prompts)


def clip_similarities(
    clip: Clip, images: Mapping[str, Image.Image], captions: Sequence[str]
) -> pd.DataFrame:
    """Cosine similarity of pictures and captions in CLIP, named pictures by captions."""
    values = cosines(clip.embed_images(list(images.values())), clip.embed_texts(captions))
    return pd.DataFrame(values, list(images), list(captions))


def draw_matrices(
    matrices: Mapping[str, pd.DataFrame],
    *,
    numbers: bool = True,
    images: Sequence[Image.Image] = (),
    cell: float = 0.42,
) -> Figure:
    """Draw matrices of similarities side by side, on one scale.

    Args:
        matrices: tables by title, all with the same rows and columns.
        numbers: write each value into its cell.
        images: pictures that take the place of the rows' names.
        cell: side of a cell in inches; smaller where the figure would be wider than the page.

    Raises:
        InputError: no table, tables of different rows or columns, or not one image by row.
    """
    tables = list(matrices.values())
    if not tables or any(not t.axes[i].equals(tables[0].axes[i]) for t in tables for i in (0, 1)):
        raise InputError("Matrices drawn together need the same rows and columns; give one at least.")
    if images and len(images) != len(tables[0]):
        raise InputError(f"{len(images)} images were given for {len(tables[0])} rows.")
    least = min(float(table.to_numpy().min()) for table in tables)
    most = max(float(table.to_numpy().max()) for table in tables)
    rows, columns = tables[0].shape
    names, heads = ([as_text(name) for name in axis] for axis in tables[0].axes)
    # lengths in inches; labels at 45 degrees reach out to the left of their columns
    slants = [text_width([head], 7.0) * 0.71 for head in heads]
    reach = max(slant - (index + 0.5) * cell for index, slant in enumerate(slants))
    left = max(1.1 * cell if images else text_width(names, 7.0) + 0.14, reach + 0.1)
    slanted, right, gap, top = max(slants) + 0.08, 0.75, 0.15, 0.25
    across = len(tables) * columns
    cell = min(cell, (PAGE - left - right - gap * (len(tables) - 1)) / across)
    width = left + across * cell + gap * (len(tables) - 1) + right
    height = top + rows * cell + slanted + 0.12
    with use_style():
        figure = Figure(figsize=(width, height), dpi=DPI)
        for index, (title, table) in enumerate(matrices.items()):
            x, y = left + index * (columns * cell + gap), slanted + 0.12
            place = (x / width, y / height, columns * cell / width, rows * cell / height)
            axis = figure.add_axes(place)
            shown = axis.imshow(table.to_numpy(), vmin=least, vmax=most, cmap="viridis", aspect="auto")
            axis.set_title(as_text(title), fontweight="bold")
            axis.set_xticks(range(columns), heads, rotation=45, ha="right", rotation_mode="anchor")
            axis.set_yticks(range(rows), names if index == 0 and not images else [""] * rows)
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
            if numbers:
                _write_numbers(axis, table.to_numpy(), (least + most) / 2)
            if images:
                _draw_beside(axis, images)
        bar = figure.add_axes(((width - right + 0.1) / width, place[1], 0.1 / width, place[3]))
        figure.colorbar(shown, cax=bar, label="cosine similarity").outline.set_visible(False)
    return figure


def _write_numbers(axis: Any, values: np.ndarray, middle: float) -> None:
    for (y, x), value in np.ndenumerate(values):
        colour = "white" if value < middle else "black"
        text = f"{value:.2f}".replace("0.", ".").replace("-", "\N{MINUS SIGN}")
        axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=6)


def _draw_beside(axis: Any, images: Sequence[Image.Image]) -> None:
    """Pictures at the left of the rows."""
    for y, image in enumerate(images):
        inset = axis.inset_axes((-1.5, y - 0.46, 0.92, 0.92), transform=axis.transData)
        inset.imshow(np.asarray(image))
        inset.set_axis_off()


def draw_approach(table: pd.DataFrame, groups: Mapping[str, Sequence[str]], word: str) -> Figure:
    """Draw how near words come to one word, by layer, each group in a colour.

    Args:
        table: of `WordVectors.approach`.
        groups: the words to draw, by the name of their group.
        word: the one word, for the label.

    Raises:
        InputError: a word that the table does not hold.
    """
    known = set(table["word"])
    with use_style():
        figure, (axis,) = make_axes(height=2.8, width=5.2)
        ends = []
        for number, (name, words) in enumerate(groups.items()):
            colour = COLOURS[number % len(COLOURS)]
            missing = [one for one in words if one not in known]
            if missing:
                raise InputError(
                    f"The table holds no {', '.join(missing)}; it holds {', '.join(sorted(known))}."
                )
            for index, one in enumerate(words):
                rows = table[table["word"] == one].sort_values("layer")
                axis.plot(rows["layer"], rows["similarity"], color=colour, marker="o", markersize=2.5,
                          label=as_text(name) if index == 0 else None)  # fmt: skip
                ends.append((float(rows["similarity"].iloc[-1]), as_text(one), colour))
        last = int(table["layer"].max())
        _label_ends(axis, ends, last)
        axis.set(
            xlabel="layer",
            ylabel=f'cosine similarity to "{as_text(word)}"',
            xlim=(-0.1, last + 0.9),
        )
        axis.set_xticks(sorted(table["layer"].unique()))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(groups))
    return figure


def _label_ends(axis: Any, ends: list[tuple[float, str, str]], last: int) -> None:
    """Name lines at their ends, pushed apart where they would overlap."""
    low, high = axis.get_ylim()
    step, at = 0.052 * (high - low), -np.inf
    for value, text, colour in sorted(ends):
        at = max(value, at + step)
        axis.annotate(text, (last, value), xytext=(last + 0.12, at), color=colour, fontsize=7, va="center")
