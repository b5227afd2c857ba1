"""`score_run`: let scorers answer the checks of a saved run, or go on with it by the same call.

Each scorer's table is written beside the run, `RUN/scores/<scorer>.parquet`, as `scoring.table` describes.
Whatever was scored is kept when scoring stops, for whatever reason.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL.Image import Image
from tqdm.auto import tqdm

from diffusion_lens.checks.assign import Asked, ask
from diffusion_lens.checks.checks import CheckedPrompt, Judgement
from diffusion_lens.errors import RunError, ScorerError
from diffusion_lens.files import ImageOrReason
from diffusion_lens.runs.images import RunImages
from diffusion_lens.runs.store import Store
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.answer_store import AnswerStore, table_path
from diffusion_lens.scoring.baselines import made_picture, partners
from diffusion_lens.scoring.former import digests_of, read_former, why_lost, with_digests
from diffusion_lens.scoring.metadata import with_metadata
from diffusion_lens.scoring.score_plan import PlannedScore, ScorePlan, make_plan, table_of, to_do
from diffusion_lens.scoring.scorer import Reference, Scorer, ScoreRequest, Source

__all__ = ["Scored", "Settings", "score_run"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How a run is scored.

    Attributes:
        baselines: score shuffled prompts, blank and noise images too; see `scoring.baselines`.
        seed: decides the order of images, and the partners of prompts.
        images_at_once: images that are held in memory, and given to a scorer in one call.
        part_seconds: seconds after which answers are written at the latest.
        progress: show a progress bar.
        overwrite: replace a table that holds answers to other checks, or of another version of the scorer.
    """

    baselines: bool = True
    seed: int = 0
    images_at_once: int = 64
    part_seconds: float = 30.0
    progress: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class Scored:
    """What became of one scorer.

    Attributes:
        scorer: its name.
        path: where its table is, below the run; None where there is none.
        table: the table.
        new: images scored this time, those of baselines among them.
        failed: why it stopped; None if it came to its end.
        missing: real rows without answer, by reason.
    """

    scorer: str
    path: str | None = None
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    new: int = 0
    failed: str | None = None

    @property
    def missing(self) -> Mapping[str, int]:
        """Real rows that have neither label nor p, by reason."""
        if self.table.empty:
            return {}
        real = self.table[self.table["baseline"] == ""]
        empty = real[real["label"].isna() & real["p"].isna()]
        return dict(Counter(empty["reason"].fillna("no reason given")))


def score_run(
    url: str | os.PathLike[str],
    scorers: Iterable[Scorer],
    *,
    given: Sequence[CheckedPrompt] = (),
    settings: Settings = Settings(),
) -> list[Scored]:
    """Score the images that a run has so far.

    Args:
        url: the run's folder, or a URL of fsspec.
        scorers: who answers; one that fails does not keep the others from it.
        given: checks of prompts; see `assign.ask` for where they come from otherwise.
        settings: how.

    Returns:
        What became of each scorer. One whose table would lose answers, for other checks are asked or it is
        of another version, has failed, unless `settings.overwrite` is on.

    Raises:
        RunError: there is no run, it is damaged, or nothing is drawn yet.
        CheckError: checks can't be read.
        OutputError: scores can't be written.
    """
    images = RunImages(url)
    if not images.scan.done:
        raise RunError(f"{images.store.url} has no images yet. Draw them first: diffusion-lens sweep.")
    _check_writable(images.store)
    asked = ask(images.plan.prompts, given)
    for source, count in asked.sources.items():
        log.info("%d of %d prompts have their checks from %s.", count, len(asked.prompts), source)
    if images.undrawn:
        log.warning(
            "The run is unfinished: %d of %d images are not drawn yet. The others are scored; give the "
            "same command again when there are more.",
            images.undrawn,
            len(images.plan),
        )
    missing = images.why_missing([cell.id for cell in images.plan.cells])
    other = partners(asked.prompts, settings.seed)
    if settings.baselines and len(asked.prompts) < 2:
        log.warning("There is one prompt only, so no other to shuffle it with: that baseline is left out.")
    return [_score(images, asked, missing, other, scorer, settings) for scorer in scorers]


def _check_writable(store: Store) -> None:
    """Make sure before any scorer is asked that its answers can be kept; nothing is left behind."""
    probe = "scores/.probe" if store.fs.exists(store.path("scores")) else ".probe"
    store.write(probe, b"")
    with suppress(FileNotFoundError):  # of another process
        store.fs.rm_file(store.path(probe))


def _score(
    images: RunImages,
    asked: Asked,
    missing: Mapping[str, str],
    other: Sequence[int | None],
    scorer: Scorer,
    settings: Settings,
) -> Scored:
    store = images.store
    answers = AnswerStore(store, scorer.name, scorer.version)
    source = Source(images.plan.experiment.model_name, images.plan.experiment.revision)
    worded = scorer.prepare(asked.prompts, source)
    questions = [tuple(check for check in one.checks if check.kind in scorer.kinds) for one in worded]
    experiment, prompts = images.plan.experiment, images.plan.prompts
    firsts = [min(experiment.seeds_of(one.prompt)) for one in prompts] if settings.baselines else None
    plan = make_plan(images.series(), scorer, questions, other, firsts, missing)
    if not plan.rows:
        why = f"{scorer.name} can judge none of the checks of this run, whose kinds are " + ", ".join(
            sorted({check.kind for prompt in asked.prompts for check in prompt.checks})
        )
        return Scored(scorer.name, failed=why)
    digests = digests_of(asked.prompts, questions)
    path = table_path(scorer.name)
    former = read_former(store, path)
    if (
        former is not None
        and not settings.overwrite
        and (lost := why_lost(former, digests, scorer.version))
    ):
        return Scored(
            scorer.name,
            failed=f"{store.url}/{path} holds {lost}. Give the command that made them again to keep them, "
            "or allow replacing them with --overwrite (overwrite=True); what was answered stays in "
            "scores/parts, and is not asked a second time.",
        )
    todo_now = list(to_do(plan, answers.done(), missing))
    new, failed = 0, None
    start = time.monotonic()
    try:
        with tqdm(
            total=len(todo_now), unit="image", disable=not settings.progress, desc=scorer.name
        ) as bar:
            for rows in _in_groups(plan, todo_now, settings):
                for row, judgements in _judge(images, plan, scorer, source, rows):
                    answers.add(row.item, row.asked, judgements)
                    new += 1
                bar.update(len(rows))
                if time.monotonic() - start >= settings.part_seconds:
                    answers.flush()
                    start = time.monotonic()
    except ScorerError as error:
        failed = str(error)
    finally:
        answers.flush()
    table = table_of(plan, answers.read(), asked.prompts, scorer, missing)
    if table.empty:
        return Scored(scorer.name, new=new, failed=failed or "there is nothing to score")
    table = with_metadata(with_digests(table, digests), images.plan.prompts, asked.prompts)
    table = scores.validate(table)
    _write(store, path, table)
    scored = Scored(scorer.name, path, table, new, failed)
    if failed is None and sum(scored.missing.values()) == int((table["baseline"] == "").sum()):
        reason = max(
            scored.missing, key=lambda reason: scored.missing[reason], default="nothing was scored"
        )
        return replace(scored, failed=f"not one check has an answer: {reason}")
    return scored


def _in_groups(
    plan: ScorePlan, rows: Sequence[PlannedScore], settings: Settings
) -> Iterator[list[PlannedScore]]:
    """Rows as they are scored: prompt by prompt, the images of a prompt in random order.

    Nobody who answers can tell from the order which layer an image is of.
    """
    prompt = {index: one.prompt for index, one in enumerate(plan.series)}

    def shuffled() -> Iterator[PlannedScore]:
        for number, found in groupby(rows, lambda row: prompt[row.series]):
            of_prompt = list(found)
            rng = np.random.default_rng((settings.seed, number))
            yield from (of_prompt[position] for position in rng.permutation(len(of_prompt)))

    ordered = list(shuffled())
    for first in range(0, len(ordered), settings.images_at_once):
        yield ordered[first : first + settings.images_at_once]


def _judge(
    images: RunImages, plan: ScorePlan, scorer: Scorer, source: Source, rows: Sequence[PlannedScore]
) -> Iterator[tuple[PlannedScore, Sequence[Judgement]]]:
    """Load what is needed and let the scorer answer."""
    compared = {row.asked: plan.references.get(row.asked, {}) for row in rows}
    needed = {row.item for row in rows}.union(*(one.values() for one in compared.values()))
    pictures = _load(images, needed)
    requested: list[tuple[PlannedScore, ScoreRequest]] = []
    for row in rows:
        picture, checks = pictures[row.item], plan.checks[row.asked]
        if picture.image is None:
            # it may be drawn again
            yield row, [Judgement(check.id, reason=picture.missing, retry=True) for check in checks]
            continue
        references: dict[Reference, Image | None] = {
            name: pictures[cell].image for name, cell in compared[row.asked].items()
        }
        requested.append((row, ScoreRequest(picture.image, checks, references, source)))
    if requested:
        answers = scorer.score([request for _, request in requested])
        yield from zip((row for row, _ in requested), answers, strict=True)


def _load(images: RunImages, items: Iterable[str]) -> dict[str, ImageOrReason]:
    """Images of cells, and those made for baselines."""
    made = {item for item in items if item.startswith(("blank", "noise"))}
    found = images.read([item for item in items if item not in made])
    return found | {item: ImageOrReason(made_picture(item, images.size)) for item in made}


def _write(store: Store, path: str, table: pd.DataFrame) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), buffer, compression="zstd")
    store.write(path, buffer.getvalue().to_pybytes())
