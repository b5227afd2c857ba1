"""LEGO against Textual Inversion on concepts whose truth is known.

A concept is a tint, a size, a number, a relation or a way up. It is learned from five pictures of it on
one subject, and asked for on subjects never shown with it. The oracle says whether a picture shows the
concept, the subject asked for, and the training subject, which nobody asked for. All ways of learning see
the same pictures for as many steps and start from the same neutral word:

- "Textual Inversion": one word for the pictures of the concept;
- "subject separated": with a word for the subject, which five pictures of the subject alone share;
- "LEGO": with the Context Loss as well;
- "context words alone" is no learning but the mean of the words that the Context Loss draws to: what
  LEGO is told besides pictures;
- "the word itself" is no learning but the model's own word, where it has one: what there is to reach.

The scenes of training hold nothing upside down, and no word of the model means it: that concept asks for
more than the model can draw. It is read by the oracle from the picture turned by half a turn about the
horizontal axis: upside down is what is known better that way.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from diffusion_lens.analysis.statistics import mean_interval, sign_flip_test
from diffusion_lens.bench.accuracy import rates
from diffusion_lens.errors import InputError
from diffusion_lens.files import write_whole
from diffusion_lens.learning.concepts import TEMPLATES, Concept
from diffusion_lens.learning.invert import Look, invert
from diffusion_lens.learning.lego import SENTENCES, Context, context_word, separated
from diffusion_lens.learning.training import Settings
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.testbed import oracle, scenes
from diffusion_lens.testbed.oracle import Reading
from diffusion_lens.testbed.scenes import SIZES, Scene, arrange, relation
from diffusion_lens.text.embeddings import Embedding, use_embeddings

__all__ = ["TRUTHS", "WAYS", "Truth", "gains", "study", "summary"]

log = logging.getLogger(__name__)
SEED = 95_001  # of the scenes
PICTURES = 5  # of the concept, and of the subject alone
INIT = "some"  # what every word starts as
SUBJECTS = ("house", "tree", "horse", "cat", "fish", "car", "apple", "book")  # asked for
RELATED = "tree"  # what the subject of a relation is related to
RELATION_SENTENCES = ("a {subject} {} a tree", "a photo of a {subject} {} a tree",
                      "a picture of a {subject} {} a tree")  # fmt: skip
WAYS = ("Textual Inversion", "subject separated", "LEGO", "context words alone", "the word itself")


@dataclass(frozen=True)
class Truth:
    """A concept and how it is told.

    Attributes:
        subject: the object of the training pictures.
        scene: a picture's scene, of an object.
        seen: whether a reading shows the concept.
        word: the model's own word for it; None where it has none.
        positive: words for its context.
        negative: words against it.
        sentences: that the concept's and the subject's words stand in.
        flipped: the picture is turned upside down.
    """

    subject: str
    scene: Callable[[str, np.random.Generator], Scene]
    seen: Callable[[Reading], bool]
    word: str | None
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    sentences: tuple[str, ...] = SENTENCES
    flipped: bool = False

    def prompt(self, name: str) -> str:
        """The concept asked of an object, with {} for its word."""
        return self.sentences[0].replace("{subject}", name)

    def pictures(self, seed: int) -> tuple[Image.Image, ...]:
        """Pictures of the concept on its subject."""
        rng = np.random.default_rng((SEED, seed))
        drawn = scenes.render_batch([self.scene(self.subject, rng) for _ in range(PICTURES)])
        return tuple(Image.fromarray(picture[::-1] if self.flipped else picture) for picture in drawn)

    def subject_pictures(self, seed: int) -> tuple[Image.Image, ...]:
        """Pictures of the subject alone."""
        rng = np.random.default_rng((SEED, seed, 1))
        drawn = scenes.render_batch([arrange([(self.subject, None)], rng) for _ in range(PICTURES)])
        return tuple(map(Image.fromarray, drawn))


def _tint(colour: str, subject: str, words: str, others: str) -> Truth:
    return Truth(
        subject,
        lambda name, rng: arrange([(name, colour)], rng),
        lambda seen: any(item.colour == colour for item in seen.objects),
        colour, tuple(words.split()), tuple(others.split()),
    )  # fmt: skip


def _is_left(seen: Reading) -> bool:
    trees = [item for item in seen.objects if item.name == RELATED]
    others = [item for item in seen.objects if item.name != RELATED]
    return any(relation(other, tree) == "left" for tree in trees for other in others)


def _doubled(seen: Reading) -> bool:
    names = [item.name for item in seen.objects]
    return any(names.count(name) == 2 for name in names)


TRUTHS: dict[str, Truth] = {
    "blue": _tint("blue", "dog", "azure sapphire cobalt", "dog pale scarlet"),
    "purple": _tint("purple", "chicken", "violet lavender", "chicken pale golden"),
    "tiny": Truth(
        "bus",
        lambda name, rng: arrange([(name, None)], rng, size="small"),
        lambda seen: any(item.size == SIZES["small"] for item in seen.objects),
        "small", ("tiny", "little", "mini"), ("bus", "huge", "enormous"),
    ),
    "doubled": Truth(
        "ball",
        lambda name, rng: arrange([(name, None)] * 2, rng),
        _doubled,
        "two", ("double", "pair", "couple"), ("ball", "one", "single"),
        ("{} {subject}", "a photo of {} {subject}", "a picture of {} {subject}"),
    ),
    "left of": Truth(
        "star",
        lambda name, rng: arrange([(name, None), (RELATED, None)], rng, where="left"),
        _is_left,
        "to the left of", ("left", "beside", "before"), ("star", "right", "above"),
        RELATION_SENTENCES,
    ),
    "upside down": Truth(
        "cow",
        lambda name, rng: arrange([(name, None)], rng),
        lambda seen: bool(seen.objects),
        None, ("inverted", "overturned", "flipped"), ("cow", "upright", "standing"),
        flipped=True,
    ),
}  # fmt: skip


def study(
    lens: DiffusionLens,
    folder: Path,
    names: Sequence[str] = tuple(TRUTHS),
    settings: Settings | None = None,
    seeds: Sequence[int] = (0, 1),
) -> pd.DataFrame:
    """Learn the concepts in all ways and ask for them; goes on where it was stopped.

    Args:
        lens: on the embedded model.
        folder: gets the state of each training, and a table of answers by concept.
        names: some of `TRUTHS`.
        settings: how words are learned; 200 steps of 2 pictures a word if None.
        seeds: pictures of each prompt.

    Returns:
        A row by picture and check: `concept`, `way`, `prompt`, `subject`, `seed`, `check` and `right`. The
        checks are "concept" (it is there), "subject" (the one asked for is there), "both", and "leak" (the
        training subject is there).

    Raises:
        InputError: a concept that is not in `TRUTHS`.
    """
    unknown = [name for name in names if name not in TRUTHS]
    if unknown:
        raise InputError(f"There is no concept {', '.join(unknown)}. There are {', '.join(TRUTHS)}.")
    settings = settings or Settings(steps=200, batch=2, rate=1e-2)
    tables = []
    for name in names:
        part = folder / name.replace(" ", "-")
        answers = part / "answers.parquet"
        if not answers.exists():
            log.info("concept %s", name)
            part.mkdir(parents=True, exist_ok=True)
            table = _ask(lens, name, _learn(lens, name, settings, part), seeds)
            write_whole(answers, lambda file, table=table: table.to_parquet(file, index=False))  # type: ignore[misc]
        tables.append(pd.read_parquet(answers))
    return pd.concat(tables, ignore_index=True)


def _learn(lens: DiffusionLens, name: str, settings: Settings, folder: Path) -> list[Embedding]:
    """The words of all ways, learned side by side: they share no parameter."""
    truth, number = TRUTHS[name], list(TRUTHS).index(name)
    pictures, alone = truth.pictures(number), truth.subject_pictures(number)
    usual = (TEMPLATES["object"],) * PICTURES
    concepts = [Concept("<inverted>", pictures, usual, INIT)]
    for way in ("separate", "lego"):
        concepts += separated(
            Concept(f"<{way}>", pictures, usual, INIT),
            Concept(f"<{way}-subject>", alone, usual, INIT),
            truth.sentences,
        )
    context = Context("<lego>", "<lego-subject>", truth.positive, truth.negative)
    return invert(lens, concepts, settings, Look(None), folder, contexts=[context])


def _ask(lens: DiffusionLens, name: str, words: Sequence[Embedding], seeds: Sequence[int]) -> pd.DataFrame:
    """Draw the concept on other subjects in every way, and read what is there."""
    truth = TRUTHS[name]
    tokens = ("<inverted>", "<separate>", "<lego>", "<context>", truth.word)
    spoken = dict(zip(WAYS, tokens, strict=True))
    known = context_word(lens.pipeline, "<context>", truth.positive)
    asked = [other for other in SUBJECTS if other != RELATED or name != "left of"]
    rows = []
    with use_embeddings(lens.pipeline, [*words, known]):
        for way, word in spoken.items():
            if word is None:
                continue
            prompts = {truth.prompt(other).replace("{}", word): other for other in asked}
            table = lens(list(prompts), "native", seeds).table
            table = table[table["image"].notna()]
            pictures = np.stack([np.asarray(image) for image in table["image"]])
            for record, found in zip(table.to_dict("records"), _read(truth, pictures), strict=True):
                other = prompts[record["prompt"]]
                for check, right in _checks(truth, other, *found).items():
                    rows.append(
                        {"concept": name, "way": way, "prompt": truth.prompt(other), "subject": other,
                         "seed": record["seed"], "check": check, "right": right}
                    )  # fmt: skip
    return pd.DataFrame(rows)


def _read(truth: Truth, pictures: np.ndarray) -> list[tuple[Reading, set[str]]]:
    """What shows the concept, and all that is there.

    Where the concept is a way up, it is shown by what is known better when the picture is turned.
    """
    plain = oracle.read(pictures)
    if not truth.flipped:
        return [(seen, {item.name for item in seen.objects}) for seen in plain]
    found = []
    for upright, turned in zip(plain, oracle.read(np.ascontiguousarray(pictures[:, ::-1])), strict=True):
        better = max(turned.fits, default=0.0) > max(upright.fits, default=0.0)
        shown = turned if better else replace(turned, objects=())
        found.append((shown, {item.name for item in (turned if better else upright).objects}))
    return found


def _checks(truth: Truth, other: str, shown: Reading, there: set[str]) -> dict[str, bool]:
    concept, subject = truth.seen(shown), other in there
    leak = truth.subject in there and truth.subject != other
    return {"concept": concept, "subject": subject, "both": concept and subject, "leak": leak}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Rates by way and check, over all concepts ("all") and by concept; the unit is concept x prompt.

    Returns:
        `concept`, `way`, `check`, `rate`, `low`, `high`, `n`, `captions` (the number of units).
    """
    table = table.assign(caption=table["concept"] + ": " + table["prompt"])
    both = pd.concat([table.assign(concept="all"), table], ignore_index=True)
    found = rates(both, ["concept", "way", "check"])
    return found.sort_values(["concept", "way"], key=_in_order, kind="stable", ignore_index=True)


def _in_order(column: "pd.Series[str]") -> "pd.Series[int]":
    order = {name: number for number, name in enumerate(("all", *TRUTHS, *WAYS))}
    return column.map(order)


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """LEGO less each other way, over the prompts of all concepts that have it.

    Returns:
        `check`, `less`, the `gain` with its 95 % interval `low` and `high`, and `p` (sign flips); the unit
        is concept x prompt.
    """
    rows = []
    for check, part in table.groupby("check", sort=False):
        wide = part.assign(right=part["right"].astype(float)).pivot_table(
            index=["concept", "prompt"], columns="way", values="right"
        )
        for way in (one for one in WAYS if one != "LEGO" and one in wide):
            less = (wide["LEGO"] - wide[way]).dropna().to_numpy()
            gain, low, high = mean_interval(less)
            rows.append((check, way, gain, low, high, sign_flip_test(less)))
    return pd.DataFrame(rows, columns=["check", "less", "gain", "low", "high", "p"])
