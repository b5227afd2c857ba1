"""`WordAttention`: where the denoiser reads a word while it makes the images of a result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diffusion_lens.errors import InputError, UnsupportedPipelineError
from diffusion_lens.images.attention_maps import AttentionRecorder
from diffusion_lens.images.sampler import Sampler, count_calls
from diffusion_lens.lens.call import Call
from diffusion_lens.lens.changes import rows_of_layer
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.lens.model import Model
from diffusion_lens.lens.words import DrawnBy
from diffusion_lens.text.encode import States
from diffusion_lens.text.interventions.tokens import Tokens
from diffusion_lens.text.reading import Reading

__all__ = ["WordAttention", "attend_word", "check_word", "overlay"]

_SAMPLER = ("steps", "guidance", "height", "width", "negative_prompt", "scheduler")


@dataclass(frozen=True)
class WordAttention:
    """How much each place of some images read of a word, by step and attention layer of the denoiser.

    Attributes:
        tokens: the word, or the tokens.
        rows: the images, one row each: `cell`, `prompt`, `layer`, `site`, `native`, `seed`, `image`.
        maps: by the path of the attention layer, the share of what a place read, from 0 to 1; the mean over
            heads. In joint attention the rest is of other words and of the image itself.
    """

    tokens: Tokens
    rows: pd.DataFrame
    maps: Mapping[str, Float[Tensor, "row step y x"]]

    def mean(
        self, steps: Sequence[int] | None = None, blocks: Sequence[str] = ()
    ) -> Float[Tensor, "row y x"]:
        """The mean over steps and layers, smaller maps enlarged linearly to the size of the largest.

        Args:
            steps: only these denoising steps, from 0.
            blocks: only layers whose paths are, or begin with, one of these.

        Raises:
            InputError: no such step or layer.
        """
        count = next(iter(self.maps.values())).shape[1]
        chosen = [self.maps[name] for name in _choose(tuple(self.maps), count, steps, blocks)]
        size = max((one.shape[-2:] for one in chosen), key=lambda one: one[0] * one[1])
        parts = [one if steps is None else one[:, list(steps)] for one in chosen]
        means = [
            torch.nn.functional.interpolate(one.mean(1, keepdim=True), size, mode="bilinear")[:, 0]
            for one in parts
        ]
        return torch.stack(means).mean(0)

    @property
    def table(self) -> pd.DataFrame:
        """One row by image, step and attention layer: `share`, the mean over places, and `peak` over it."""
        parts = []
        for block, maps in self.maps.items():
            share, peak = maps.mean((2, 3)), maps.amax((2, 3))
            for row, one in enumerate(self.rows.drop(columns="image").to_dict("records")):
                values = {"block": block, "step": range(maps.shape[1]), "share": share[row].tolist()}
                ratio = (peak[row] / share[row].clamp_min(1e-12)).tolist()
                parts.append(pd.DataFrame({**one, **values, "peak": ratio}))
        found: pd.DataFrame = pd.concat(parts, ignore_index=True)
        return found

    @property
    def nbytes(self) -> int:
        """The memory that the maps take."""
        return sum(one.nbytes for one in self.maps.values())

    def grid(
        self, steps: Sequence[int] | None = None, blocks: Sequence[str] = (), *, cell: int | None = None
    ) -> Image.Image:
        """The images under what was read: rows of seeds, columns of layers; red above an image's own mean.

        Args:
            steps: as for `mean`.
            blocks: likewise.
            cell: the longer side of an image on the sheet, in pixels.
        """
        means = self.mean(steps, blocks)
        several = self.rows["prompt"].nunique() > 1
        columns: dict[str, None] = {}
        sheet: dict[str, dict[str, Image.Image | None]] = {}
        for row, heat in zip(self.rows.to_dict("records"), means, strict=True):
            column = "native" if row["native"] else row["site"]
            label = f"{row['prompt']}, seed {row['seed']}" if several else f"seed {row['seed']}"
            columns[column] = None
            image = row["image"]
            shown = None if image is None else Image.fromarray(overlay(image, heat))
            sheet.setdefault(label, {})[column] = shown
        rows = [[one.get(column) for column in columns] for one in sheet.values()]
        return contact_sheet(
            rows, list(sheet), list(columns), title=f"where {self.tokens!r} is read", cell=cell
        )


def check_word(
    model: Model,
    prompt: str,
    tokens: Tokens,
    *,
    sampler: Sampler | None = None,
    steps: Sequence[int] | None = None,
    blocks: Sequence[str] = (),
) -> None:
    """Refuse what `attend_word` and `WordAttention.mean` would, before anything is drawn.

    Args:
        model: the model that will draw.
        prompt: the prompt.
        tokens: the word.
        sampler: how its images will be drawn.
        steps: the steps that will be asked for; all if None.
        blocks: the layers that will be asked for.

    Raises:
        PromptError: the prompt lacks the word.
        InputError: no such step or layer.
        SamplerError: the images can't be drawn so.
        UnsupportedPipelineError: the denoiser's attention is of no known kind; it is named.
    """
    layers = AttentionRecorder(model.pipeline, 0, ()).layers
    how = model.settings(sampler).sampler
    _choose(layers, None if steps is None else count_calls(model.pipeline, how), steps, blocks)
    _places(model, prompt, tokens, {})


def _choose(
    layers: Sequence[str], count: int | None, steps: Sequence[int] | None, blocks: Sequence[str]
) -> list[str]:
    """The layers asked for; refused where one of them, or a step, is none."""
    within = {block: [one for one in layers if f"{one}.".startswith(f"{block}.")] for block in blocks}
    for block, found in within.items():
        if not found:
            raise InputError(
                f"No attention layer of the denoiser is {block!r} or within it. There are "
                f"{', '.join(layers)}."
            )
    if count is not None and steps is not None and not (steps and all(0 <= one < count for one in steps)):
        raise InputError(f"Steps {list(steps)} were asked for; the denoiser takes 0 to {count - 1}.")
    return [one for one in layers if not blocks or any(one in found for found in within.values())]


def attend_word(
    drawn_by: DrawnBy | None,
    table: pd.DataFrame,
    states: States,
    tokens: Tokens,
    *,
    prompt: str | None = None,
    layers: Sequence[int | str] | None = None,
    seeds: Sequence[int] | None = None,
) -> WordAttention:
    """Where the denoiser reads a word, by step and attention layer; its images are drawn once more.

    Works with U-Nets and with transformers of joint attention whose processors are diffusers' own.

    Args:
        drawn_by: the model that drew the images, which must still be there, and how it drew them.
        table: the images.
        states: the hidden states that they rest on.
        tokens: the word, or tokens; see `diffusion_lens.text.interventions.tokens`.
        prompt: only of this prompt.
        layers: only of these layers: numbers, parts of blocks such as "6.attn", or "native".
        seeds: only of these seeds.

    Raises:
        InputError: the lens is gone, there is no such image, or it was drawn under `only(...)`.
        PromptError: the prompt lacks the word.
        UnsupportedPipelineError: the denoiser's attention is of no known kind; it is named.
    """
    model = None if drawn_by is None else drawn_by.model()
    if drawn_by is None or model is None:
        raise InputError("The model of this result is gone, or it was read from a file. Draw it again.")
    AttentionRecorder(model.pipeline, 0, ())  # or it is refused
    table = table if prompt is None else table[table["prompt"] == prompt]
    if layers:
        table = table[pd.concat([rows_of_layer(table, one) for one in layers], axis=1).any(axis=1)]
    table = table[table["seed"].isin(seeds or list(table["seed"]))]
    if table.empty:
        raise InputError(f"The result holds no image of prompt {prompt!r}, layers {layers}, seeds {seeds}.")
    by_columns = {tuple(map(str, one.columns().values())): one for one in drawn_by.readings}
    names = list(drawn_by.readings[0].columns())
    places = {text: _places(model, text, tokens, drawn_by.options) for text in table["prompt"].unique()}
    images, recorded = [], []
    for row in table.to_dict("records"):
        reading = by_columns[tuple(str(row[name]) for name in names)]
        if reading.only is not None:
            raise InputError(
                f"Maps of images under {reading.only} can't be recorded. Draw them without it."
            )
        recorder = AttentionRecorder(model.pipeline, *places[row["prompt"]])
        with recorder.record():
            given = {name: _value(row[name]) for name in _SAMPLER}
            sampler = Sampler(**given, options=drawn_by.options)
            call = Call.resolve(
                model, row["prompt"], reading.reading, row["seed"], Reading(), sampler, states=states
            )
            drawn = next(call.rows())
        images.append(drawn["image"])
        recorded.append(recorder.maps)
    rows = table[["cell", "prompt", "layer", "site", "native", "seed"]].reset_index(drop=True)
    size = next((one.size for one in images if one is not None), (1, 1))
    maps = {
        block: torch.stack([_as_image(torch.stack(one[block]), size) for one in recorded])
        for block in recorded[0]
    }
    return WordAttention(tokens, rows.assign(image=images), maps)


def _places(model: Model, prompt: str, tokens: Tokens, options: Mapping[str, Any]) -> tuple[int, list[int]]:
    """How many tokens the denoiser is given, and which of them are made of the states of some tokens.

    These states are changed, and it is seen what of the pipeline's text argument changes with them: a
    pipeline may cut a template away, or join the states of two encoders one after the other.
    """
    reader = model.reader(options)
    (reading,) = model.readings("native", reader=reader)
    states = reader.encode([prompt], [reading])
    marked = {}
    for name, one in states.items():
        places = reader.places_of(one).select(tokens)
        changed = one.states.clone()
        # no constant, which a norm takes away
        changed[..., places, :] += torch.linspace(-1, 1, changed.shape[-1], dtype=changed.dtype)
        marked[name] = replace(one, states=changed)
    before, after = (reader.condition(one, reading).get("prompt_embeds") for one in (states, marked))
    if not isinstance(before, torch.Tensor) or not isinstance(after, torch.Tensor) or before.ndim != 3:
        raise UnsupportedPipelineError(
            f"The tokens of {type(model.pipeline).__name__} can't be told in what its denoiser is given."
        )
    moved = (before != after).any(-1)[0].nonzero()[:, 0].tolist()
    return before.shape[1], moved


def _as_image(maps: Float[Tensor, "step place"], size: tuple[int, int]) -> Float[Tensor, "step y x"]:
    """Places as rows and columns, in the proportions of the image."""
    places = maps.shape[1]
    height = round((places * size[1] / size[0]) ** 0.5)
    if height == 0 or places % height:
        raise UnsupportedPipelineError(f"{places} places of attention are no grid of an image of {size}.")
    return maps.reshape(len(maps), height, places // height)


def _value(value: Any) -> Any:
    return None if value is None or value != value else value


def overlay(image: Image.Image, heat: Float[Tensor, "y x"], most: float = 2.0) -> np.ndarray:
    """An image, pale and grey, under the places of a map that are above its mean.

    Args:
        image: the image.
        heat: the map, not negative.
        most: how many times the mean is fully red.

    Returns:
        uint8 `[y, x, 3]`.
    """
    ratio = heat.double() / heat.double().mean().clamp_min(1e-12)
    scaled = (ratio - 1) / max(most - 1, 1e-12)
    large = torch.nn.functional.interpolate(
        scaled[None, None], (image.height, image.width), mode="bicubic"
    )[0, 0].clamp(0, 1)
    pixels = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float64))
    grey = 0.5 * pixels.mean(-1, keepdim=True).expand(-1, -1, 3) + 0.5 * 255
    red = torch.tensor([200.0, 30.0, 0.0], dtype=torch.float64)
    weight = 0.85 * large[..., None]
    return ((1 - weight) * grey + weight * red).round().to(torch.uint8).numpy()
