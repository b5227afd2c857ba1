"""The training loop of embeddings: make steps, validate, keep the best, resume after an interruption."""

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
from diffusion_lens.learning.metrics import Embed, image_similarity
from diffusion_lens.learning.training import Learner
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.text.embeddings import Embedding

__all__ = ["Validation", "invert"]

log = logging.getLogger(__name__)

_SAVE_EVERY = 50  # steps between two saved states


@dataclass(frozen=True)
class Validation:
    """How embeddings are judged while they are learned: by images drawn with them.

    Attributes:
        embed: makes the vectors by which drawn images are compared with the training images.
        seeds: the seeds with which each embedding is drawn. Measure a result with other seeds: the best
            step was chosen on these.
        prompt: what is drawn, with {} for the placeholder token.
        steps: denoising steps; the model's own if None.
        name: what tells `embed` from others, such as its model; a training is resumed with the same one.
    """

    embed: Embed
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    prompt: str = "a photo of {}"
    steps: int | None = None
    name: str = ""

    def __str__(self) -> str:
        """All that scores hang on, in words."""
        steps = "" if self.steps is None else f" in {self.steps} steps"
        return f"{self.name or 'similarity'} of {self.prompt!r} at seeds {list(self.seeds)}{steps}"


def invert(
    lens: DiffusionLens,
    learner: Learner,
    folder: Path,
    validation: Validation | None = None,
    *,
    progress: bool = True,
) -> list[Embedding]:
    """Learn embeddings. The same call resumes a training that was stopped.

    Args:
        lens: draws for the validation; it must be on the pipeline of the learner.
        learner: what to learn, and how.
        folder: gets the state (`state.safetensors`), the course (`course.csv`: step, and the loss and
            score of each token) and a sheet of the images of each validation (`step-000100.png`).
        validation: how to judge embeddings; None to keep the last ones without drawing.
        progress: show a progress bar.

    Returns:
        The embeddings with the highest image similarity, or the last ones without a validation.

    Raises:
        InputError: a loss is not finite.
        RunError: the folder holds the state of another training, or of one with another validation.
        OutputError: the folder can't be written.
    """
    state, judged = folder / "state.safetensors", "none" if validation is None else str(validation)
    check_output(state, overwrite=True)
    if state.exists():
        load_state(state, learner, judged)
        log.info("Resuming from step %d of %s.", learner.progress.step, state)
    steps, every = learner.settings.steps, learner.settings.validate_every
    with (
        learner.training(),
        tqdm(total=steps, initial=learner.progress.step, disable=not progress, desc="Learning") as bar,
    ):
        while not learner.finished:
            losses = learner.step()
            bar.update()
            step = learner.progress.step
            due = step % every == 0 or step == steps
            if validation is not None and due:
                scores = _validate(lens, learner, validation, folder / f"step-{step:06d}.png")
                bar.set_postfix_str(f"similarity {sum(scores) / len(scores):.3f}")
                _record(folder / "course.csv", learner, losses)
            if step % _SAVE_EVERY == 0 or (validation is not None and due):
                save_state(state, learner, judged)
        save_state(state, learner, judged)
    return learner.learned()


def _validate(
    lens: DiffusionLens, learner: Learner, validation: Validation, sheet: Path
) -> tuple[float, ...]:
    """Draw every embedding, write the images as a sheet, and score them."""
    prompts = [validation.prompt.replace("{}", one.token) for one in learner.embeddings]
    table = lens(prompts, "native", validation.seeds, steps=validation.steps, progress=False).table
    drawn = {prompt: rows["image"].tolist() for prompt, rows in table.groupby("prompt")}
    rows = [
        [*concept.images[:1], *drawn[prompt]]
        for concept, prompt in zip(learner.concepts, prompts, strict=True)
    ]
    page = _page(rows)
    write_whole(sheet, lambda file: page.save(file, "png"))

    def score(index: int) -> float:
        there = [image for image in drawn[prompts[index]] if image is not None]
        if not there:
            return -1.0  # the least cosine: every image overflowed
        return float(image_similarity(validation.embed, there, learner.concepts[index].images).mean())

    return learner.validate(score)


def _page(rows: Sequence[Sequence[Image.Image | None]]) -> Image.Image:
    """One row for each embedding: a training image, then what was drawn."""
    drawn = [image for row in rows for image in row[1:] if image is not None]
    width, height = drawn[0].size if drawn else (64, 64)
    page = Image.new("RGB", (width * max(map(len, rows)), height * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            if image is not None:
                page.paste(image.resize((width, height)), (x * width, y * height))
    return page


def _record(path: Path, learner: Learner, losses: Sequence[float]) -> None:
    """Add the validation of this step to the course, and drop later rows of an interrupted training."""
    step = learner.progress.step
    kept: list[dict[str, str]] = []
    if path.exists():
        with open(path, newline="") as file:
            kept = [row for row in csv.DictReader(file) if int(row["step"]) < step]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", "token", "loss", "score"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    for one, loss, score in zip(learner.embeddings, losses, learner.progress.scores, strict=True):
        writer.writerow({"step": step, "token": one.token, "loss": loss, "score": score})
    write_whole(path, lambda file: file.write(text.getvalue().encode()))
