"""Causal patching: states of a clean prompt put into the forward pass of a corrupted one, token by layer.

Where a single state brings back what the clean prompt states, that layer and token carry it (Vig et al.
2020, arXiv 2004.12265; Meng et al. 2022, arXiv 2202.05262; here with a second prompt in the place of
noise). The later blocks of the encoder run on from the patched state, and all images of a seed start from
one noise.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from PIL.Image import Image

from diffusion_lens.checks.checks import CheckedPrompt
from diffusion_lens.errors import LayerError
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.lens.result import Result
from diffusion_lens.scoring.judge_images import checks_of_pairs, image_difference, judge_images, share_right
from diffusion_lens.scoring.patch_places import PatchPlace, find_patch_places
from diffusion_lens.scoring.scorer import Scorer
from diffusion_lens.text.encode import States
from diffusion_lens.text.interventions import Patch
from diffusion_lens.text.interventions.tokens import Tokens
from diffusion_lens.text.layers import LayerRequest
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.reading import Reading

__all__ = ["Patched", "patch_prompts"]

_OF_SAMPLER = ("steps", "guidance", "height", "width", "negative_prompt", "scheduler", "upscale")
_COLUMNS = (
    *("pair", "clean", "corrupted", "place", "token", "role", "layer", "seed", "cell", "drawn"),
    *("right", "right_clean", "right_corrupted", "restored"),
)


@dataclass(frozen=True)
class Patched:
    """Images of corrupted prompts with states of clean ones patched in.

    Attributes:
        result: all images; of each pair those of the clean and the corrupted prompt come first.
        table: one row by pair, place, layer and seed: `pair` (its number), `clean`, `corrupted`, `place`
            (the patched token by position, "#3", or the selection asked for), `token` (as the encoder reads
            it in both prompts), `role` (see `PatchPlace`), `layer`, `seed`, `cell`; `drawn`: false where
            both prompts have the same state there, so that the image is that of the corrupted prompt and
            was not drawn again; `right`: the share of the checks that the image meets, `right_clean` and
            `right_corrupted`: those of the unpatched prompts of the same seed; `restored`: how much nearer
            the image is to the clean one than the corrupted image is, 1 for the clean image and 0 for one
            as far away as the corrupted one. What is not known is missing.
        checks: the ids of the checks that count, by pair.
        answers: what the scorer said of each image (see `scoring.table`); `run` is the cell.
    """

    result: Result
    table: pd.DataFrame
    checks: tuple[tuple[str, ...], ...]
    answers: pd.DataFrame

    def grid(self, pair: int = 0, seed: int | None = None) -> Image:
        """The images of one pair and seed: places as rows, layers as columns.

        The unpatched images, which are of no layer, stand above every column.

        Args:
            pair: the pair.
            seed: the seed; the first one if None.
        """
        here = self.table[self.table["pair"] == pair]
        seed = int(here["seed"].iloc[0]) if seed is None else seed
        here = here[here["seed"] == seed]
        images = self.result.table.set_index("cell")["image"]
        layers = list(dict.fromkeys(here["layer"]))
        clean, corrupted = here["clean"].iloc[0], here["corrupted"].iloc[0]
        plain = self.result.table[(self.result.table["seed"] == seed) & self.result.table["identical"]]
        first = [plain.loc[plain["prompt"] == text, "image"].iloc[0] for text in (clean, corrupted)]
        rows: list[list[Image | None]] = [[one] * len(layers) for one in first]
        labels = [f"clean: {clean}", f"corrupted: {corrupted}"]
        for (_, token), row in here.groupby(["place", "token"], sort=False):
            rows.append([images[cell] for cell in row["cell"]])
            labels.append(str(token))
        return contact_sheet(rows, labels, [f"layer {layer}" for layer in layers])


def patch_prompts(
    lens: DiffusionLens,
    pairs: Sequence[tuple[str, str]],
    layers: LayerRequest | Sequence[LayerRequest] = "all",
    seeds: int | Sequence[int] = 0,
    *,
    tokens: Sequence[Tokens] = (),
    encoder: str | None = None,
    scorer: str | Scorer = "oracle",
    given: Sequence[CheckedPrompt] = (),
    checks: Collection[str] = (),
    settings: Any = None,
    device: str | None = None,
    **options: Any,
) -> Patched:
    """Patch each token of clean prompts into corrupted ones at each layer, draw and judge the images.

    Each prompt is encoded once, the clean one once more as what is patched in, and the corrupted one once
    for each patch. A position at which both prompts have the same state is neither encoded nor drawn again.

    Args:
        lens: the model.
        pairs: clean and corrupted prompts, read as equally many tokens each.
        layers: at which states are patched; see `LayerPlan.layers`, without parts of blocks.
        seeds: as for a call of the lens.
        tokens: what is patched: selections of `diffusion_lens.text.interventions.tokens` that both prompts
            have, each by itself; if left out, every token, and the padding together.
        encoder: the text encoder that is patched, while others read the corrupted prompt; the first one if
            None.
        scorer: who judges; a registered name, or a scorer.
        given: checks of the clean prompts; if left out, what their words state.
        checks: ids of the checks that count; if left out, all of the clean prompt that the corrupted
            one does not state.
        settings: the scorer's settings, where it is given by name.
        device: where the scorer's model runs.
        options: further arguments of a call of the lens, such as `steps`.

    Raises:
        InputError: no pairs, the same prompt twice, or prompts of which one is read as more tokens.
        CheckError: no check tells the two prompts of a pair apart.
        PromptError, LayerError, EncoderError, SamplerError, ScorerError: something asked for can't be.
    """
    lens.conditioner.check_present()
    encoder = encoder or next(iter(lens.conditioner.slots))
    reader = lens.reader({name: value for name, value in options.items() if name not in _OF_SAMPLER})
    numbers = [one.layer for one in _layers(lens, layers, encoder, reader)]
    counted = [tuple(check.id for check in one) for one in checks_of_pairs(pairs, given, checks)]
    found, images, answers = [], [], []
    for number, (clean, corrupted) in enumerate(pairs):
        states = _encode(lens, reader, clean, corrupted, encoder)
        places = find_patch_places(reader, states[encoder][0], states[encoder][1], tokens)
        plain = lens([clean, corrupted], "native", seeds, states=states, progress=False, **options).table
        cells = list(_cells(states[encoder].states, states[encoder].layers, places, numbers))
        drawn = _draw(lens, clean, corrupted, encoder, cells, seeds, states, options)
        part = pd.concat([plain, drawn], ignore_index=True)
        images.append(part)
        said = judge_images(
            part.drop_duplicates("cell"),
            clean,
            scorer,
            given,
            settings=settings,
            device=device,
            model=lens.name,
        )
        answers.append(said.assign(pair=number))
        right = share_right(said, counted[number])
        found.append(_table(plain, drawn, cells, right, clean, corrupted).assign(pair=number))
    shown = pd.concat(images, ignore_index=True).drop_duplicates("cell", ignore_index=True)
    table = pd.concat(found, ignore_index=True)[list(_COLUMNS)]
    said = pd.concat(answers, ignore_index=True)
    return Patched(Result(shown, {}), table, tuple(counted), said)


def _encode(lens: DiffusionLens, reader: Reader, clean: str, corrupted: str, encoder: str) -> States:
    """The states of both prompts at all layers, each in one pass."""
    every = Reading(encoder, interventions=(Patch(clean, "all", place="encoder"),))
    return reader.encode([clean, corrupted], lens.readings(every, reader=reader))


def _layers(
    lens: DiffusionLens,
    layers: LayerRequest | Sequence[LayerRequest],
    encoder: str,
    reader: Reader,
) -> Sequence[Any]:
    """The layers asked for, of the encoder that is patched.

    Raises:
        LayerError: one is a part of a block.
    """
    found = lens.readings(layers, Reading(encoder), reader)
    parts = [one.reading.site.id for one in found if one.reading.site.part]
    if parts:
        raise LayerError(
            f"{parts[0]} is a part of a block, and whole hidden states are patched. Name layers: all, "
            f"native, or numbers such as {found[0].layer}."
        )
    return found


@dataclass(frozen=True)
class _Cell:
    place: PatchPlace
    layer: int
    drawn: bool


def _cells(
    states: torch.Tensor, kept: Sequence[Any], places: Sequence[PatchPlace], layers: Sequence[int]
) -> Iterator[_Cell]:
    """Every place and layer, and whether the clean prompt's state differs there from the other."""
    for place in places:
        for layer in dict.fromkeys(layers):
            clean, corrupted = states[kept.index(layer)]
            here = list(place.positions)
            yield _Cell(place, layer, not torch.equal(clean[here], corrupted[here]))


def _draw(
    lens: DiffusionLens,
    clean: str,
    corrupted: str,
    encoder: str,
    cells: Iterable[_Cell],
    seeds: int | Sequence[int],
    states: States,
    options: dict[str, Any],
) -> pd.DataFrame:
    """The images of all patches that change a state, in the order of the cells, by cell and seed."""
    readings = [
        Reading(
            encoder,
            interventions=(Patch(clean, one.place.tokens, layers=one.layer, place="encoder"),),
        )
        for one in cells
        if one.drawn
    ]
    if not readings:
        return pd.DataFrame()
    return lens(corrupted, readings, seeds, states=states, progress=False, **options).table


def _table(
    plain: pd.DataFrame,
    drawn: pd.DataFrame,
    cells: Sequence[_Cell],
    right: pd.Series,
    clean: str,
    corrupted: str,
) -> pd.DataFrame:
    """The table of one pair; see `Patched`, without the pair's number."""
    of_prompt = {text: plain[plain["prompt"] == text].set_index("seed") for text in (clean, corrupted)}
    seeds = list(of_prompt[corrupted].index)
    waiting = iter(drawn.to_dict("records"))
    rows = []
    for one in cells:
        for seed in seeds:
            ends = [of_prompt[text].loc[seed] for text in (clean, corrupted)]
            image = next(waiting) if one.drawn else ends[1]
            far = image_difference(ends[1]["image"], ends[0]["image"])
            left = image_difference(image["image"], ends[0]["image"])
            values = [float(right.get(each["cell"], float("nan"))) for each in (image, *ends)]
            rows.append(
                {
                    "clean": clean,
                    "corrupted": corrupted,
                    "place": one.place.tokens,
                    "token": one.place.token,
                    "role": one.place.role,
                    "layer": one.layer,
                    "seed": seed,
                    "cell": image["cell"],
                    "drawn": one.drawn,
                    **dict(zip(("right", "right_clean", "right_corrupted"), values, strict=True)),
                    "restored": 1 - left / far if far else float("nan"),
                }
            )
    return pd.DataFrame(rows)
