"""From pictures to files of words: train, look, keep the best, and go on after an interruption."""

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from diffusion_lens.files import check_output, write_whole
from diffusion_lens.learning.checkpoint import load_state, save_state
from diffusion_lens.learning.concepts import Concept
from diffusion_lens.learning.lego import Context, LegoLearner
from diffusion_lens.learning.metrics import Embed, image_similarity
from diffusion_lens.learning.training import Learner, Settings
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.text.embeddings import Embedding

__all__ = ["Look", "invert"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """How a training looks at what its words draw.

    Attributes:
        embed: what compares drawings with the pictures given; None to keep the last rows unseen.
        seeds: drawings of each word.
        prompt: what is drawn, with {} for the word.
        steps: denoising steps; the model's own if None.
    """

    embed: Embed | None
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    prompt: str = "a photo of {}"
    steps: int | None = None


def invert(
    lens: DiffusionLens,
    concepts: Sequence[Concept],
    settings: Settings,
    look: Look,
    folder: Path,
    *,
    contexts: Sequence[Context] = (),
    save_every: int = 50,
    progress: bool = True,
) -> list[Embedding]:
    """Learn words; the same call goes on where it was stopped.

    Args:
        lens: the model.
        concepts: what to learn.
        settings: how.
        look: how to tell good words from bad.
        folder: for the state (`state.safetensors`), the course (`course.csv`: step, and by word loss and
            score) and the drawings of each look (`step-000100.png`).
        contexts: of the concepts that have a context loss; see `lego`.
        save_every: steps between two states on disk.
        progress: show a progress bar.

    Returns:
        The best words seen, by image similarity.

    Raises:
        InputError, UnsupportedPipelineError: see `Learner`.
        RunError: the folder holds the state of another training.
        OutputError: the folder can't be written.
    """
    state = folder / "state.safetensors"
    check_output(state, overwrite=True)
    learner = (
        LegoLearner(lens.pipeline, concepts, settings, contexts)
        if contexts
        else Learner(lens.pipeline, concepts, settings)
    )
    if state.exists():
        load_state(state, learner)
        log.info("Going on from step %d of %s.", learner.progress.step, state)
    with (
        learner.training(),
        tqdm(
            total=settings.steps, initial=learner.progress.step, disable=not progress, desc="Learning"
        ) as bar,
    ):
        while not learner.finished:
            losses = learner.step()
            bar.update()
            step = learner.progress.step
            looks = look.embed is not None and (
                step % settings.validate_every == 0 or step == settings.steps
            )
            if looks:
                scores = _look(lens, learner, look, folder / f"step-{step:06d}.png")
                bar.set_postfix_str(f"similarity {sum(scores) / len(scores):.3f}")
                _record(folder / "course.csv", learner, losses)
            if looks or step % save_every == 0:
                save_state(state, learner)
        save_state(state, learner)
    return learner.learned()


def _look(lens: DiffusionLens, learner: Learner, look: Look, sheet: Path) -> tuple[float, ...]:
    assert look.embed is not None
    prompts = [look.prompt.replace("{}", word.token) for word in learner.words]
    table = lens(prompts, "native", look.seeds, steps=look.steps, progress=False).table
    drawn = {prompt: rows["image"].tolist() for prompt, rows in table.groupby("prompt")}
    rows = [
        [*concept.pictures[:1], *drawn[prompt]]
        for concept, prompt in zip(learner.concepts, prompts, strict=True)
    ]
    page = _page(rows)
    write_whole(sheet, lambda file: page.save(file, "png"))
    embed = look.embed

    def score(_word: Embedding, index: int) -> float:
        there = [image for image in drawn[prompts[index]] if image is not None]
        if not there:
            return -1.0
        return float(image_similarity(embed, there, learner.concepts[index].pictures).mean())

    return learner.look(score)


def _page(rows: Sequence[Sequence[Image.Image | None]]) -> Image.Image:
    """A row a word: a picture that it is learned from, and drawings."""
    drawn = [image for row in rows for image in row[1:] if image is not None]
    width, height = drawn[0].size if drawn else (64, 64)
    page = Image.new("RGB", (width * max(map(len, rows)), height * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            if image is not None:
                page.paste(image.resize((width, height)), (x * width, y * height))
    return page


def _record(path: Path, learner: Learner, losses: Sequence[float]) -> None:
    """Add the look at this step to the course, in place of what an interrupted training wrote after it."""
    step = learner.progress.step
    kept: list[dict[str, str]] = []
    if path.exists():
        with open(path, newline="") as file:
            kept = [row for row in csv.DictReader(file) if int(row["step"]) < step]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", "token", "loss", "score"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    for word, loss, score in zip(learner.words, losses, learner.progress.scores, strict=True):
        writer.writerow({"step": step, "token": word.token, "loss": loss, "score": score})
    write_whole(path, lambda file: file.write(text.getvalue().encode()))
