"""LEGO against Textual Inversion on the embedded model, on concepts whose truth is known.

    python -m experiments.studies.lego --out results/lego

Each concept of `lego_concepts` is learned from five images of it on one subject, with several training
seeds, and asked for on subjects never shown with it. The oracle says whether an image shows the concept,
the subject asked for, and the training subject, which nobody asked for. The ways are:

- "Textual Inversion": one token for the images of the concept, which starts as the neutral word "some";
- "Textual Inversion, informed": the same, but it starts as the first of the words that describe the
  concept, which is what LEGO is given besides images;
- "subject separated": with a token for the subject, which five images of the subject alone share;
- "LEGO": with the Context Loss as well;
- "context words alone": nothing is learned; the mean of the words that the Context Loss draws to;
- "the word itself": nothing is learned; the model's own word, where it has one: what there is to reach.

All ways of learning see the same images for as many steps. A concept is learned from five images, so that
the unit of every interval and test is the concept, not the prompt; with six concepts the smallest possible
p is 2 / 2^6 = 0.031.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

from diffusion_lens.figures.style import save
from diffusion_lens.learning.concepts import TEMPLATES, Concept
from diffusion_lens.learning.invert import invert
from diffusion_lens.learning.lego import Context, LegoLearner, mean_embedding, separated
from diffusion_lens.learning.training import Settings
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.text.embeddings import Embedding, use_embeddings
from experiments.studies.draw_lego import draw_lego
from experiments.studies.lego_concepts import RELATED, TRUTHS, check, read_images
from experiments.studies.tables import kept, means, paired, write_table

__all__ = ["QUICK", "TOKENS", "Size", "study", "summarise"]

log = logging.getLogger(__name__)
SETTINGS = Settings(steps=200, batch=2, lr=1e-2)
INIT = "some"  # what an embedding starts as if it is not informed
SUBJECTS = ("house", "tree", "horse", "cat", "fish", "car", "apple", "book")  # what is asked for
FIRST_SEED = 100  # of the drawings that are measured
TOKENS = {
    "Textual Inversion": "<inverted>",
    "Textual Inversion, informed": "<informed>",
    "subject separated": "<separate>",
    "LEGO": "<lego>",
    "context words alone": "<context>",
}


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Attributes:
        concepts: some of `TRUTHS`.
        settings: how embeddings are learned.
        training_seeds: trainings of each concept.
        seeds: images of each prompt.
        subjects: what the concepts are asked for on.
    """

    concepts: tuple[str, ...] = tuple(TRUTHS)
    settings: Settings = SETTINGS
    training_seeds: tuple[int, ...] = (0, 1, 2)
    seeds: int = 2
    subjects: tuple[str, ...] = SUBJECTS


QUICK = Size(
    concepts=("blue", "upside down"),
    settings=Settings(steps=1, batch=1, lr=1e-2),
    training_seeds=(0,),
    seeds=1,
    subjects=("house", "cat"),
)


def study(
    lens: DiffusionLens, folder: Path, size: Size | None = None, *, progress: bool = True
) -> pd.DataFrame:
    """Learn the concepts in all ways and ask for them. The same call resumes a study that was stopped.

    Args:
        lens: an embedded model.
        folder: gets the state of each training, and a table of answers by concept and training seed.
        size: how large the study is; by default as in the repository.
        progress: show progress bars.

    Returns:
        One row for each image and check: `concept`, `way`, `training_seed`, `prompt`, `subject`, `seed`,
        `check` and `right`. The checks are "concept" (it is there), "subject" (the one asked for is
        there), "both", and "leak" (the training subject is there). Images that overflowed are missing.
    """
    size = size or Size()
    tables = []
    for name in size.concepts:
        for seed in size.training_seeds:
            part = folder / name.replace(" ", "-") / str(seed)

            def ask(name: str = name, seed: int = seed, part: Path = part) -> pd.DataFrame:
                log.info("concept %s, training seed %d", name, seed)
                return _ask(lens, name, _learn(lens, name, seed, size, part, progress), size)

            tables.append(kept(part / "answers.parquet", ask).assign(training_seed=seed))
    return pd.concat(tables, ignore_index=True)


def _learn(
    lens: DiffusionLens, name: str, seed: int, size: Size, folder: Path, progress: bool
) -> list[Embedding]:
    """The embeddings of all ways, learned side by side: they share no parameter."""
    truth, number = TRUTHS[name], list(TRUTHS).index(name)
    images, alone = truth.images(number), truth.subject_images(number)
    usual = (TEMPLATES["object"],) * len(images)
    concepts = [
        Concept("<inverted>", images, usual, INIT),
        Concept("<informed>", images, usual, truth.positive[0]),
    ]
    for way in ("separate", "lego"):
        concepts += separated(
            Concept(f"<{way}>", images, usual, INIT),
            Concept(f"<{way}-subject>", alone, usual, INIT),
            truth.sentences,
        )
    context = Context("<lego>", "<lego-subject>", truth.positive, truth.negative)
    learner = LegoLearner(lens.pipeline, concepts, replace(size.settings, seed=seed), [context])
    return invert(lens, learner, folder, progress=progress)


def _ask(lens: DiffusionLens, name: str, learned: Sequence[Embedding], size: Size) -> pd.DataFrame:
    """Draw the concept on other subjects in every way, and read what is there."""
    truth = TRUTHS[name]
    words = TOKENS | ({} if truth.word is None else {"the word itself": truth.word})
    mean = mean_embedding(lens.pipeline, TOKENS["context words alone"], truth.positive)
    asked = [other for other in size.subjects if other != RELATED or name != "left of"]
    numbers = list(range(FIRST_SEED, FIRST_SEED + size.seeds))
    rows = []
    with use_embeddings(lens.pipeline, [*learned, mean]):
        for way, word in words.items():
            prompts = {truth.prompt(other).replace("{}", word): other for other in asked}
            table = lens(list(prompts), "native", numbers, progress=False).table
            table = table[table["image"].notna()]
            if table.empty:
                continue
            images = np.stack([np.asarray(image) for image in table["image"]])
            for record, found in zip(table.to_dict("records"), read_images(truth, images), strict=True):
                other = prompts[record["prompt"]]
                same = (name, way, truth.prompt(other), other, record["seed"])
                rows += [(*same, *answer) for answer in check(truth, other, *found).items()]
    columns = ["concept", "way", "prompt", "subject", "seed", "check", "right"]
    return pd.DataFrame(rows, columns=columns)


def summarise(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rates with intervals, and what LEGO gains over each other way.

    Args:
        table: as `study` gives it.

    Returns:
        "summary": means over concepts by way and check; "concepts": those of each concept, with intervals
        over its prompts, given its trainings; "gains": LEGO less each other way by check, over concepts.
    """
    return {
        "summary": means(table, ["way", "check"], "concept", "right", limits=(0, 1)),
        "concepts": means(table, ["concept", "way", "check"], "prompt", "right", limits=(0, 1)),
        "gains": paired(table, ["check"], "concept", "way", "LEGO", "right", limit=1),
    }


def main(
    out: Path = Path("results/lego"), model: str = "emoji", bf16: bool = False, quick: bool = False
) -> None:
    """Run the study, and write its tables and its figure.

    Args:
        out: a folder for a folder of each concept, the tables, and the figure.
        model: an embedded model.
        bf16: learn in bfloat16; the vectors stay float32.
        quick: run everything at tiny size, to try the command; the numbers then mean nothing.
    """
    size = QUICK if quick else Size()
    size = replace(size, settings=replace(size.settings, bf16=bf16))
    lens = DiffusionLens.from_pretrained(model, batch_size=64)
    tables = summarise(study(lens, out, size))
    for name, table in tables.items():
        write_table(out / f"{name}.csv", table)
    shown = pd.concat([tables["summary"].assign(concept="all"), tables["concepts"]], ignore_index=True)
    save(draw_lego(shown), out / "lego")


if __name__ == "__main__":
    tyro.cli(main)
