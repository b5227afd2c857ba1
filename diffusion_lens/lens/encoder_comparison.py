"""`compare_encoders`: prompts under two text encoders of one model, from the same noise, by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from diffusion_lens.errors import EncoderError, InputError
from diffusion_lens.lens.comparison import compare
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.lens.result import Result
from diffusion_lens.lens.rows import column_labels, join_title
from diffusion_lens.models.encoder_variants import EncoderVariant, model_name
from diffusion_lens.models.replace_encoders import replace_encoders
from diffusion_lens.models.site_keys import SiteKey, deepest_layer
from diffusion_lens.text.states import LayerStates

__all__ = ["EncoderComparison", "Measure", "compare_encoders"]

Measure = Literal["state_difference", "image_difference"]
_MEASURES: dict[str, Measure] = {"hidden states": "state_difference", "images": "image_difference"}


@dataclass(frozen=True, repr=False)
class EncoderComparison:
    """Images of the same prompts, layers and seeds under two text encoders of one model.

    Attributes:
        encoder: the pipeline's name for the encoder that was replaced.
        names: what the two encoders are called.
        results: what the lens drew with each.
        table: one row a prompt, layer and seed: `prompt`, `layer`, `native`, `column` (the layer's label),
            `seed`, `state_difference` (of the states that were drawn, without tokens that the encoder's
            attention mask hides, as the root mean square of the difference by that of the first encoder's)
            and `image_difference` (mean absolute difference of the pixels, 0 to 1; missing where an image
            is).
        amount: the difference that counts as one.
    """

    encoder: str
    names: tuple[str, str]
    results: tuple[Result, Result]
    table: pd.DataFrame
    amount: float

    def images(self) -> Result:
        """The images of both as one result; the column `model` tells them apart."""
        tables = [result.table for result in self.results]
        return Result(pd.concat(tables, ignore_index=True), {})

    def by_layer(self) -> pd.DataFrame:
        """The mean over prompts and seeds: one row a layer, with `column`, and both differences."""
        measures = list(_MEASURES.values())
        return self.table.groupby(["layer", "native", "column"], as_index=False)[measures].mean()

    def first_layer(self, measure: Measure) -> int | None:
        """The first layer drawn whose mean difference is more than `amount`; None if that of none is."""
        means = self.by_layer()
        found = means[means[measure] > self.amount]
        return None if found.empty else int(found["layer"].iloc[0])

    def summary(self) -> str:
        """The first layer that differs, in two lines."""
        lines = []
        for what, measure in _MEASURES.items():
            values = self.by_layer()[measure]
            layer = self.first_layer(measure)
            found = "no layer drawn" if layer is None else f"layer {layer} first"
            lines.append(
                f"{what} differ by more than {self.amount:g}: {found} (largest {float(values.max()):.3g})"
            )
        return "\n".join(lines)

    def grid(self, *, cell: int | None = None) -> Image.Image:
        """For each prompt and seed both rows and their difference, black where they are equal.

        Args:
            cell: the longer side of an image on the sheet, in pixels.
        """
        first, second = (result.table for result in self.results)
        # pairs are made of rows of one model each, so that the name of the model needs no room
        paired = compare(first.assign(model=""), second.assign(model=""))
        several = first["prompt"].nunique() > 1
        labels = []
        for one, other in paired.pairs:
            ours, others = (row.label(prompt=several) for row in (one, other))
            labels += [f"{self.names[0]}, {ours}", f"{self.names[1]}, {others}", "difference"]
        prompt = "" if several else str(first["prompt"].iloc[0])
        title = join_title(prompt, f"layer of {self.encoder}", paired.reading)
        return contact_sheet(paired.images(), labels, paired.columns, title=title, cell=cell)

    def __repr__(self) -> str:
        return f"EncoderComparison({self.names[0]} and {self.names[1]} as {self.encoder}: {self.summary()})"


def compare_encoders(
    lens: DiffusionLens,
    prompts: str | Sequence[str],
    first: str | EncoderVariant | nn.Module = "own",
    second: str | EncoderVariant | nn.Module = "own",
    layers: Any = "all",
    seeds: int | Sequence[int] = 0,
    *,
    encoder: str | None = None,
    amount: float = 0.05,
    **options: Any,
) -> EncoderComparison:
    """Draw prompts with two text encoders in the same place of one model, from the same noise.

    Under guidance each encoder reads the negative prompt too, so that native images are those of the
    pipeline with that encoder; at `guidance=1` images differ by the layer drawn alone.

    Args:
        lens: the model; its pipeline is left as it is.
        prompts: one prompt or several.
        first: a text encoder: a description as `EncoderVariant.parse` reads it ("own", "own+int8", a
            folder, "own+lora=FILE"), or a live module, such as one that was quantised by torchao.
        second: the other one.
        layers: as for a call of the lens.
        seeds: likewise.
        encoder: the pipeline's name for the encoder that both stand in for, and whose layers are drawn
            while other encoders stay native; the pipeline's first one if None.
        amount: the difference by which a layer counts as different.
        options: further arguments of a call, such as `steps`.

    Raises:
        InputError: an encoder can't be found, or does not fit the model; or `amount` is no positive number.
        EncoderError: the pipeline has no such encoder, or the two are not of the same depth.
        PromptError, LayerError, SamplerError: something asked for can't be.
    """
    if not amount > 0:
        raise InputError(f"amount is {amount!r}; it is a difference above 0, such as 0.05.")
    known = lens.conditioner.slots
    place = encoder or next(iter(known))
    if place not in known:
        raise EncoderError(f"This pipeline has no encoder {place!r}. It has: {', '.join(known)}.")
    given = [EncoderVariant.parse(one) if isinstance(one, str) else one for one in (first, second)]
    names = [str(one) if isinstance(one, EncoderVariant) else type(one).__name__ for one in given]
    lenses: list[DiffusionLens] = []  # both before anything is drawn: the second one may not fit
    for variant, name in zip(given, names, strict=True):
        other = DiffusionLens(
            replace_encoders(lens.pipeline, {place: variant}),
            family=lens.conditioner.family,
            encoders={key: one.family for key, one in lens.conditioner.encoders.items()},
            defaults=lens.defaults,
            batch_size=lens.denoiser.batch_size,
            name=model_name(lens.name, {place: name}),
            revision=lens.revision,
            embeddings=lens.embeddings.fitted,
        )
        lenses.append(other)
    depths = [one.conditioner.encoders[place].depth for one in lenses]
    if len(set(depths)) > 1:
        raise EncoderError(
            f"{names[0]} has {depths[0]} layers and {names[1]} has {depths[1]}: only encoders of one "
            "depth can be compared layer by layer."
        )
    drawn = [one(prompts, layers, seeds, encoder=place, **options) for one in lenses]
    results = (drawn[0], drawn[1])
    table = _differences(*results, place)
    if names[0] == names[1]:
        names = [f"{name} ({letter})" for name, letter in zip(names, "AB", strict=True)]
    return EncoderComparison(place, (names[0], names[1]), results, table, amount)


def _differences(first: Result, second: Result, encoder: str) -> pd.DataFrame:
    """The rows of `EncoderComparison.table`."""
    readings = first.drawn_by.readings if first.drawn_by is not None else ()
    drawn = {one.reading.site.id: max(one.sources[encoder], key=deepest_layer) for one in readings}
    rows: list[dict[str, Any]] = []
    named = first.table.assign(column=column_labels(first.table))
    pairs = zip(named.to_dict("records"), second.table.to_dict("records"), strict=True)
    prompts = list(dict.fromkeys(first.table["prompt"]))
    for one, other in pairs:
        index = prompts.index(one["prompt"])
        ours, theirs = (result.states[encoder][index] for result in (first, second))
        rows.append(
            {
                **{name: one[name] for name in ("prompt", "layer", "native", "column", "seed")},
                "state_difference": _state_difference(ours, theirs, drawn[one["site"]]),
                "image_difference": _image_difference(one["image"], other["image"]),
            }
        )
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _state_difference(one: LayerStates, other: LayerStates, key: SiteKey) -> float:
    """Root mean square of the difference by that of the first, over the tokens that no mask hides."""
    kept = one.mask[0] & other.mask[0]
    first, second = (states.layer(key)[0][kept].double() for states in (one, other))
    size = float(torch.linalg.vector_norm(first))
    gap = float(torch.linalg.vector_norm(first - second))
    return gap / size if size else float("nan")


def _image_difference(one: Image.Image | None, other: Image.Image | None) -> float:
    if one is None or other is None:
        return float("nan")
    pixels = (np.asarray(image.convert("RGB"), dtype=np.float64) for image in (one, other))
    return float(np.abs(next(pixels) - next(pixels)).mean() / 255)
