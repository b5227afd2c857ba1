"""Textual Inversion on the embedded model, against captions and real words, with known truth.

    python -m experiments.studies.textual_inversion --out results/textual_inversion

Ten concepts of five training images each: objects whose sprites training never drew, objects that it drew
seldom, and styles (a tint, a place) shown on several objects. Each is learned with several training seeds
and drawn by its learned token; the baselines are the real word, the word that learning starts from, a
short caption, a long one (Gal et al. 2023, section 5.1), and no word at all. Measured are image similarity
to new renders of the subject, which no training and no validation saw; text similarity; and whether the
oracle finds the place or object that an edited prompt asks for. The best step is chosen by drawings of
other seeds than those that are measured. The unit of every interval and test is the concept.

The second part learns some objects at several learning rates and numbers of vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from PIL import Image

from diffusion_lens.figures.style import save
from diffusion_lens.learning.concepts import Concept
from diffusion_lens.learning.invert import Validation, invert
from diffusion_lens.learning.metrics import Embed, image_similarity, text_similarity, without_word
from diffusion_lens.learning.training import Learner, Settings
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.clip import Clip
from diffusion_lens.testbed import oracle
from diffusion_lens.text.embedding_files import read_embedding, write_embedding
from diffusion_lens.text.embeddings import Embedding, use_embeddings
from experiments.studies.draw_textual_inversion import draw_textual_inversion
from experiments.studies.subjects import SUBJECTS, Subject
from experiments.studies.tables import kept, means, paired, write_table

SETTINGS = Settings(steps=150, lr=0.01, validate_every=50)
FIRST_SEED = 100  # of what is measured; validations draw with the seeds 0 to 3


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Attributes:
        subjects: what is learned.
        settings: how it is learned.
        training_seeds: trainings of each subject.
        samples: drawings for each measure; the paper has 64.
        layer_seeds: drawings for each layer.
        grid: the subjects of the second part.
        lrs: the learning rates of the second part.
        vectors: the numbers of vectors of the second part.
        grid_steps: steps of the second part.
    """

    subjects: tuple[Subject, ...] = SUBJECTS
    settings: Settings = SETTINGS
    training_seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 12
    layer_seeds: int = 4
    grid: tuple[str, ...] = ("parrot", "taxi", "violin", "tractor")
    lrs: tuple[float, ...] = (0.002, 0.01, 0.05)
    vectors: tuple[int, ...] = (1, 2, 4)
    grid_steps: int = 60


QUICK = Size(
    subjects=(SUBJECTS[0], SUBJECTS[-1]),
    settings=Settings(steps=1, batch=1, lr=0.01, validate_every=1),
    training_seeds=(0, 1),
    samples=1,
    layer_seeds=1,
    grid=("parrot",),
    lrs=(0.01, 0.05),
    vectors=(1,),
    grid_steps=1,
)


def study(
    lens: DiffusionLens, clip: Clip, folder: Path, size: Size | None = None, *, progress: bool = True
) -> dict[str, pd.DataFrame]:
    """Learn, draw and measure everything. The same call resumes a study that was stopped.

    Args:
        lens: an embedded model.
        clip: compares images and texts.
        folder: gets the embeddings, the states of the trainings, and the tables.
        size: how large the study is; by default as in the repository.
        progress: show progress bars.

    Returns:
        The tables "concepts", "layers" and "grid".
    """
    size = size or Size()
    learned = {seed: _learn_all(lens, clip, folder, size, seed, progress) for seed in size.training_seeds}
    first = learned[size.training_seeds[0]]
    return {
        "concepts": kept(folder / "concepts.parquet", lambda: compare(lens, clip, learned, size)),
        "layers": kept(folder / "layers.parquet", lambda: by_layer(lens, clip, first, size)),
        "grid": kept(folder / "grid.parquet", lambda: measure_grid(lens, clip, folder, size, progress)),
    }


def _learn_all(
    lens: DiffusionLens, clip: Clip, folder: Path, size: Size, seed: int, progress: bool
) -> list[Embedding]:
    concepts = [one.concept() for one in size.subjects]
    settings = replace(size.settings, seed=seed)
    return _learn(lens, clip, concepts, settings, folder / f"training-{seed}", progress)


def _learn(
    lens: DiffusionLens,
    clip: Clip,
    concepts: Sequence[Concept],
    settings: Settings,
    folder: Path,
    progress: bool,
) -> list[Embedding]:
    """Learn embeddings side by side, or read those that an earlier call finished."""
    files = [folder / f"{one.token.strip('<>')}.safetensors" for one in concepts]
    if not all(path.is_file() for path in files):
        learner = Learner(lens.pipeline, concepts, settings)
        learned = invert(lens, learner, folder, Validation(_embed(clip)), progress=progress)
        for path, one in zip(files, learned, strict=True):
            write_embedding(path, one, lens.pipeline)
    return [read_embedding(path, lens.pipeline) for path in files]


def compare(
    lens: DiffusionLens, clip: Clip, learned: dict[int, list[Embedding]], size: Size
) -> pd.DataFrame:
    """Measure each subject in every way of saying it.

    Returns:
        `concept`, `kind`, `way` ("learned", "real word", "start word", "short", "long", "no word",
        "training images", "new images"), `training_seed` (of "learned"; -1 elsewhere), `measure` and
        `value`.
    """
    rows: list[dict[str, object]] = []

    def add(one: Subject, way: str, seed: int, values: dict[str, float]) -> None:
        same = {"concept": one.name, "kind": one.kind, "way": way, "training_seed": seed}
        rows.extend({**same, "measure": name, "value": value} for name, value in values.items())

    for seed, embeddings in learned.items():
        with use_embeddings(lens.pipeline, embeddings):
            for one in size.subjects:
                add(one, "learned", seed, _measure(lens, clip, one, one.token, size.samples))
    for one in size.subjects:
        texts = {
            "real word": one.real,
            "start word": one.start,
            "short": one.short,
            "long": one.long,
            "no word": "",
        }
        for way, text in texts.items():
            add(one, way, -1, _measure(lens, clip, one, text, size.samples))
        embed, new = _embed(clip), one.scored_images()
        add(one, "training images", -1, {"image": float(image_similarity(embed, one.images(), new).mean())})
        add(one, "new images", -1, {"image": float(image_similarity(embed, new, new).mean())})
    return pd.DataFrame(rows)


def by_layer(
    lens: DiffusionLens,
    clip: Clip,
    learned: Sequence[Embedding],
    size: Size,
) -> pd.DataFrame:
    """At which layer the learned and the real word look like the subject.

    Returns:
        `concept`, `kind`, `way` ("learned" or "real word"), `layer`, and `image` (image similarity).
    """
    rows = []
    numbers = list(range(FIRST_SEED, FIRST_SEED + size.layer_seeds))
    with use_embeddings(lens.pipeline, learned):
        for one in size.subjects:
            prompt = one.prompts()[0]
            ways = {prompt.replace("{}", one.token): "learned", prompt.replace("{}", one.real): "real word"}
            table = lens(list(ways), "all", numbers, progress=False).table
            table = table[table["image"].notna()]
            for (text, layer), part in table.groupby(["prompt", "layer"]):
                alike = image_similarity(_embed(clip), part["image"].tolist(), one.scored_images()).mean()
                rows.append((one.name, one.kind, ways[str(text)], layer, float(alike)))
    return pd.DataFrame(rows, columns=["concept", "kind", "way", "layer", "image"])


def measure_grid(lens: DiffusionLens, clip: Clip, folder: Path, size: Size, progress: bool) -> pd.DataFrame:
    """Learn some subjects at several learning rates and numbers of vectors, and measure them.

    Returns:
        `concept`, `lr`, `vectors`, `norm` (mean length of the vectors), `measure` and `value`.
    """
    chosen = [one for one in size.subjects if one.name in size.grid]
    cells = [(one, lr, count) for one in chosen for lr in size.lrs for count in size.vectors]
    tokens = [f"<{one.name}.{lr}.{count}>" for one, lr, count in cells]
    concepts = [
        one.concept(count, lr, token) for (one, lr, count), token in zip(cells, tokens, strict=True)
    ]
    settings = replace(size.settings, steps=size.grid_steps, validate_every=size.grid_steps)
    learned = _learn(lens, clip, concepts, settings, folder / "grid", progress)
    rows = []
    with use_embeddings(lens.pipeline, learned):
        for (one, lr, count), token, embedding in zip(cells, tokens, learned, strict=True):
            norm = float(embedding.vectors["text_encoder"].norm(dim=-1).mean())
            for name, value in _measure(lens, clip, one, token, size.samples).items():
                rows.append((one.name, lr, count, norm, name, value))
    return pd.DataFrame(rows, columns=["concept", "lr", "vectors", "norm", "measure", "value"])


def _embed(clip: Clip) -> Embed:
    return lambda images: clip.embed_images(list(images)).numpy()


def _draw(lens: DiffusionLens, prompts: Sequence[str], samples: int) -> dict[str, list[Image.Image]]:
    """Images by prompt, `samples` in all; those that overflowed are left out."""
    each = max(1, samples // len(prompts))
    numbers = list(range(FIRST_SEED, FIRST_SEED + each))
    table = lens(list(prompts), "native", numbers, progress=False).table
    table = table[table["image"].notna()]
    return {prompt: table["image"][table["prompt"] == prompt].tolist() for prompt in prompts}


def _measure(lens: DiffusionLens, clip: Clip, one: Subject, text: str, samples: int) -> dict[str, float]:
    """All measures of one way to say a subject; "" for leaving it out."""

    def say(prompt: str) -> str:
        return prompt.replace("{}", text) if text else without_word(prompt)

    alike = _draw(lens, [say(prompt) for prompt in one.prompts()], samples)
    drawn = [image for images in alike.values() for image in images]
    asked = [say(prompt) for prompt in one.edits().values()]
    edited = alike if asked == list(alike) else _draw(lens, asked, samples)  # a style's are the same
    wanted = {say(prompt): (name, without_word(prompt)) for name, prompt in one.edits().items()}
    cells = [(image, *wanted[prompt]) for prompt, images in edited.items() for image in images]
    images = [image for image, _, _ in cells]
    read = oracle.read(np.stack([np.asarray(image) for image in images])) if cells else []
    right = [_shows(seen, name) for seen, (_, name, _) in zip(read, cells, strict=True)]
    texts = text_similarity(clip, images, [text for _, _, text in cells]) if cells else []
    nothing = float("nan")
    likeness = image_similarity(_embed(clip), drawn, one.scored_images()) if drawn else []
    return {
        "image": float(np.mean(likeness)) if drawn else nothing,
        "text": float(np.mean(texts)) if cells else nothing,
        "edit": float(np.mean(right)) if cells else nothing,
    }


def _shows(seen: oracle.Reading, wanted: str) -> bool:
    return seen.place == wanted or any(item.name == wanted for item in seen.objects)


def main(
    out: Path = Path("results/textual_inversion"),
    model: str = "emoji",
    device: str | None = None,
    quick: bool = False,
) -> None:
    """Run the study, and write its tables and its figure.

    Args:
        out: a folder for the tables, the figure and the embeddings.
        model: an embedded model.
        device: cpu, cuda, cuda:1 or mps; the fastest that is found if left out.
        quick: run everything at tiny size, to try the command; the numbers then mean nothing.
    """
    lens = DiffusionLens.from_pretrained(model, device=device)
    tables = study(lens, Clip.from_pretrained(), out, QUICK if quick else None)
    for name, table in tables.items():
        write_table(out / f"{name}.csv", table)
    # cosines and shares
    summary = means(tables["concepts"], ["measure", "way"], "concept", limits=(-1, 1))
    write_table(out / "summary.csv", summary)
    write_table(out / "gains.csv", paired(tables["concepts"], ["measure"], "concept", "way", "learned"))
    grid = means(tables["grid"], ["measure", "vectors", "lr"], "concept", limits=(-1, 1))
    write_table(out / "grid_summary.csv", grid)
    save(draw_textual_inversion(summary, grid), out / "words")


if __name__ == "__main__":
    tyro.cli(main)
