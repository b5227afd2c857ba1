"""How well an embedded model draws what captions state, layer by layer, as the oracle sees it.

Captions come from streams that training never draws from, in groups:

- `seen`: combinations as in training, with the frequencies of training;
- `new colour`, `new relation`: combinations that training holds back;
- `common names`, `other names`, `rare names`: invented names, the most and the least frequent tenth
  apart;
- `rare objects`: one object of the rarest tenth;
- `synonyms of objects`, `... of colours`, and so on: captions with a word that no training caption holds.
  What such a word is drawn as is the check of its kind: in captions with another word for a colour, the
  object is one that training named.

A relation is asked for as a whole (chance 25 %) and in two parts: the axis, and given the axis the order
(chance 50 % each).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from diffusion_lens.errors import LayerError
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.testbed import captions, oracle, scenes
from diffusion_lens.testbed.captions import Description, Item
from diffusion_lens.testbed.judge import judge, judge_relation_parts
from diffusion_lens.testbed.synonyms import SYNONYMS, say_differently

__all__ = ["Question", "evaluate", "questions", "rates"]

SEED = 80_001  # the stream of scenes
SHARES = {
    "seen": 0.6,
    "new colour": 0.112,
    "new relation": 0.112,
    "common names": 0.05,
    "other names": 0.076,
    "rare names": 0.05,
}
RARE_SHARE = 0.064  # of rare objects, beyond the others
RARE_OBJECTS = frozenset(scenes.OBJECTS[-len(scenes.OBJECTS) // 10 :])
_TENTH = len(scenes.ENTITY_NAMES) // 10 + 1
NAMES = {
    "common names": scenes.ENTITY_NAMES[:_TENTH],
    "other names": scenes.ENTITY_NAMES[_TENTH:-_TENTH],
    "rare names": scenes.ENTITY_NAMES[-_TENTH:],
}
PROMPTS_AT_ONCE = 16


@dataclass(frozen=True)
class Question:
    """A caption, what it states, and its group."""

    group: str
    caption: str
    stated: Description


def questions(count: int = 500, synonyms: bool = True) -> list[Question]:
    """Draw captions of all groups; the same ones every time.

    Args:
        count: captions in all, but for the rare objects and the synonyms.
        synonyms: one more caption for each of `synonyms.SYNONYMS`.
    """
    asked: list[Question] = []
    for group, share in SHARES.items():
        for index in range(round(count * share)):
            if group in NAMES:
                asked.append(_named(group, index))
                continue
            rng = np.random.default_rng((SEED, len(asked)))
            stated = captions.describe(_scene(group, index))
            asked.append(Question(group, captions.phrase(stated, rng), stated))
    for index, scene in zip(range(round(count * RARE_SHARE)), _rare_scenes(), strict=False):
        rng = np.random.default_rng((SEED, index, 2))
        stated = captions.describe(scene)
        asked.append(Question("rare objects", captions.phrase(stated, rng), stated))
    if synonyms:
        for index, synonym in enumerate(SYNONYMS):
            rng = np.random.default_rng((SEED, index, 1))
            stated = _with_word(synonym.kind, synonym.target, index)
            plain = captions.phrase(stated, rng)
            while synonym.target not in plain:  # another phrasing of the same
                plain = captions.phrase(stated, rng)
            group = f"synonyms of {synonym.kind}s"
            asked.append(Question(group, say_differently(plain, synonym), stated))
    return asked


def _named(group: str, index: int) -> Question:
    """Ask for all names of a group with one opening, then with the next."""
    openings = tuple(dict.fromkeys(captions.OPENINGS))
    turn, which = divmod(index, len(NAMES[group]))
    name = NAMES[group][which]
    return Question(group, openings[turn % len(openings)] + name, Description((), entity=name))


def _scene(group: str, index: int) -> scenes.Scene:
    if group == "seen":
        return scenes.sample(SEED, index, ("single", "pair", "count"))
    return scenes.sample_held_out(SEED, index, group.removeprefix("new "))


def _rare_scenes() -> Iterator[scenes.Scene]:
    """Scenes of one object of the rarest tenth, with the frequencies of training among them."""
    drawn = (scenes.sample(SEED + 1, index, ("single",)) for index in itertools.count())
    return (scene for scene in drawn if scene.objects[0].name in RARE_OBJECTS)


def _with_word(kind: str, target: str, index: int) -> Description:
    """A plain description that needs the trained word, with a frequent object where any will do."""
    name = scenes.OBJECTS[index % 8]
    if kind == "object":
        return Description((Item(target),))
    if kind == "colour":
        return Description((Item(name, colour=target),))
    if kind == "size":
        return Description((Item(name, size=target),))
    if kind == "count":
        return Description((Item(name),), count={"two": 2, "three": 3, "four": 4}[target])
    if kind == "place":
        place = next(key for key, phrase in captions.PLACE_PHRASES.items() if phrase == target)
        return Description((Item(name),), place=place)
    return Description((Item(name), Item(scenes.OBJECTS[(index + 3) % 8])), where=target)


def evaluate(
    lens: DiffusionLens,
    asked: Sequence[Question],
    layers: int | str | Sequence[int | str] = "native",
    seeds: Sequence[int] = (0, 1),
    steps: int = 20,
    guidance: float = 4.0,
) -> pd.DataFrame:
    """Draw captions at layers and let the oracle answer: one row per image and check.

    Returns:
        columns `group`, `caption`, `layer`, `seed`, `check`, `about`, `right` (nullable boolean; missing
        where it can't be asked).

    Raises:
        LayerError: there is no such layer, or it is a part of a block.
    """
    parts = [one.reading.site.id for one in lens.readings(layers) if one.reading.site.part]
    if parts:
        raise LayerError(
            f"{parts[0]} is a part of a block, and rates are of whole layers. Name layers: all, native, or "
            "numbers; the parts are drawn by `diffusion-lens sweep` and judged by the oracle."
        )
    rows = []
    for first in range(0, len(asked), PROMPTS_AT_ONCE):
        part = {question.caption: question for question in asked[first : first + PROMPTS_AT_ONCE]}
        result = lens(list(part), layers, seeds, steps=steps, guidance=guidance)
        pictures = np.stack([np.asarray(image) for image in result.table["image"]])
        for (_, row), seen in zip(result.table.iterrows(), oracle.read(pictures), strict=True):
            question = part[row["prompt"]]
            for answer in (*judge(question.stated, seen), *judge_relation_parts(question.stated, seen)):
                rows.append(
                    (
                        question.group,
                        question.caption,
                        row["layer"],
                        row["seed"],
                        answer.check,
                        answer.about,
                        answer.right,
                    )
                )
    names = ["group", "caption", "layer", "seed", "check", "about", "right"]
    return pd.DataFrame(rows, columns=names).astype({"right": "boolean"})


def rates(
    answers: pd.DataFrame, by: Sequence[str] = ("group", "layer", "check"), level: float = 0.95
) -> pd.DataFrame:
    """Share of right answers with an interval; the unit is the caption.

    The interval is Wilson's at the effective number of answers: as many independent ones as would have
    the variance of the ratio estimator over captions (Korn and Graubard 1998, Survey Methodology 24).

    Returns:
        columns of `by`, then `rate`, `low`, `high`, `n` (answers that are not missing), `captions`.
    """
    asked = answers.dropna(subset="right")
    asked = asked.assign(right=asked["right"].astype(float))
    rows = []
    for key, group in asked.groupby(list(by), sort=True):
        by_caption = group.groupby("caption")["right"].agg(["sum", "count"])
        n, rate = int(by_caption["count"].sum()), float(group["right"].mean())
        low, high = _interval(by_caption["sum"].to_numpy(), by_caption["count"].to_numpy(), level)
        rows.append((*key, rate, low, high, n, len(by_caption)))
    return pd.DataFrame(rows, columns=[*by, "rate", "low", "high", "n", "captions"])


def _interval(right: np.ndarray, asked: np.ndarray, level: float) -> tuple[float, float]:
    """Wilson's interval (1927) of a ratio over clusters."""
    n, clusters = asked.sum(), len(asked)
    rate = right.sum() / n
    spread = np.square(right - rate * asked).sum() / n**2 * clusters / max(1, clusters - 1)
    # all right or all wrong has no spread: then the captions count as the sample
    effective = min(n, rate * (1 - rate) / spread) if spread > 0 else clusters
    z = norm.ppf(0.5 + level / 2)
    middle = (rate + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z / (1 + z**2 / effective) * math.sqrt(rate * (1 - rate) / effective + z**2 / (4 * effective**2))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))
