"""`trace`: which word carries what at which layer: each word kept or dropped, drawn and judged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd
from PIL.Image import Image

from diffusion_lens.checks.scenes import parse_caption
from diffusion_lens.errors import InputError
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.lens.result import Result
from diffusion_lens.scoring.judge_images import checks_of, image_difference, judge_images, share_right
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from diffusion_lens.text.interventions import Drop, Intervention, Keep
from diffusion_lens.text.reading import ALL_ENCODERS

__all__ = ["Mode", "Trace", "trace"]

Mode = Literal["drop", "keep"]


@dataclass(frozen=True)
class Trace:
    """Images of a prompt with each of its words kept or dropped at each layer.

    Attributes:
        result: all images; those of the whole prompt come first.
        table: one row by word, layer and seed: `word`, `position` (of the word, from 0; a word
            that stands twice has two), `layer`, `site` (as in a result), `seed`, `cell`, `change` (mean
            absolute difference from the image of the whole prompt, of the range of a pixel, 0 to 1),
            `right` (share of the prompt's checks that the image meets), `right_whole` (likewise of the
            whole prompt) and `effect`: dropped, how much of it is lost, `right_whole - right`; kept, how
            much of it is there, `right`.
            What was not judged is missing.
    """

    result: Result
    table: pd.DataFrame

    def heatmap(self) -> pd.DataFrame:
        """The mean over seeds, words as rows and layers as columns: `effect`, or `change` where nothing was
        judged.
        """
        value = "effect" if self.table["effect"].notna().any() else "change"
        grid = self.table.pivot_table(index=["position", "word"], columns="site", values=value)
        grid = grid.reindex(columns=self.table["site"].unique())
        grid.columns = pd.Index([int(one) if one.isdecimal() else one for one in grid.columns])
        return grid.droplevel("position")

    def grid(self, seed: int | None = None) -> Image:
        """The images of one seed: the whole prompt and each word as rows, layers as columns.

        Args:
            seed: the seed; the first one if None.
        """
        seed = int(self.table["seed"].iloc[0]) if seed is None else seed
        drawn = self.result.table[self.result.table["seed"] == seed]
        layers = list(dict.fromkeys(drawn["site"]))
        images = drawn["image"].tolist()
        rows = [images[i : i + len(layers)] for i in range(0, len(images), len(layers))]
        words = self.table.drop_duplicates("position").sort_values("position")["word"]
        return contact_sheet(rows, ["the whole prompt", *words], [f"layer {layer}" for layer in layers])


def trace(
    lens: DiffusionLens,
    prompt: str,
    layers: Any = "all",
    seeds: int | Sequence[int] = 0,
    *,
    mode: Mode = "drop",
    **options: Any,
) -> Trace:
    """Draw a prompt with each of its words dropped (or kept alone) at each layer, and judge the images.

    The words change only in the state that is drawn. Images of the embedded models are judged by the exact
    oracle of their scenes; others, and prompts that state no such scene, by how much the image changes.

    Args:
        lens: the model.
        prompt: the prompt.
        layers: as for a call of the lens.
        seeds: likewise.
        mode: "drop" takes one word away; "keep" takes all other words away.
        options: further arguments of a call, such as `steps`.

    Raises:
        InputError: an unknown mode, or a prompt without words.
        PromptError, LayerError, SamplerError: something asked for can't be.
    """
    if mode not in ("drop", "keep"):
        raise InputError(f"{mode!r} is no mode of trace. Allowed: drop, keep.")
    words = prompt.split()
    if not words:
        raise InputError("The prompt has no word to trace. Write one, such as 'a red fox'.")
    undisturbed = _draw(lens, prompt, (), layers, seeds, options)
    for one in undisturbed.states.values():  # a word that was cut off is said before all others are drawn
        if options.get("encoder", ALL_ENCODERS) in (ALL_ENCODERS, one.encoder):
            for position in range(len(words)):
                lens.reader().places_of(one).select(f"word#{position}")
    rows, options = [undisturbed.table], {"states": undisturbed.states, **options}
    for position in range(len(words)):  # by its position: a word may stand in several places
        change: Intervention = Drop(f"word#{position}") if mode == "drop" else Keep(f"word#{position}")
        rows.append(_draw(lens, prompt, (change,), layers, seeds, options).table)
    result = replace(undisturbed, table=pd.concat(rows, ignore_index=True))
    right = _judge(lens, prompt, result.table)
    whole = rows[0].assign(right_whole=right.reindex(rows[0]["cell"]).tolist()).set_index(["site", "seed"])
    found = []
    for position, word in enumerate(words, start=1):
        drawn = rows[position][["layer", "site", "seed", "cell", "image"]].assign(
            word=word, position=position - 1, right=right.reindex(rows[position]["cell"]).tolist()
        )
        keys = pd.MultiIndex.from_frame(drawn[["site", "seed"]])
        drawn["right_whole"] = whole["right_whole"].reindex(keys).to_numpy()
        others = whole["image"].reindex(keys)
        drawn["change"] = [image_difference(*pair) for pair in zip(drawn["image"], others, strict=True)]
        found.append(drawn.drop(columns="image"))
    table = pd.concat(found, ignore_index=True)
    lost = table["right_whole"] - table["right"]
    table["effect"] = lost if mode == "drop" else table["right"]
    order = ["word", "position", "layer", "site", "seed", "cell"]
    return Trace(result, table[[*order, "change", "right", "right_whole", "effect"]])


def _draw(
    lens: DiffusionLens,
    prompt: str,
    changes: tuple[Intervention, ...],
    layers: Any,
    seeds: int | Sequence[int],
    options: dict[str, Any],
) -> Result:
    return lens(prompt, layers, seeds, interventions=changes, progress=False, **options)


def _judge(lens: DiffusionLens, prompt: str, table: pd.DataFrame) -> pd.Series:
    """The share of the prompt's checks that each image meets, by cell; missing where that is not known."""
    if parse_caption(prompt) is None:
        return pd.Series(dtype=float)
    answers = judge_images(table, prompt, OracleScorer(), model=lens.name)
    return share_right(answers, [check.id for check in checks_of(prompt)])
