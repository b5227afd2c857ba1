"""Words learned on the embedded model, against captions of the same thing: a study with known truth.

Ten concepts of five pictures each: objects whose sprites training never drew, objects that it drew
seldom, and styles (a tint, a place) shown on several objects. Each is drawn by its learned word, by a
short caption, and by a long one (Gal et al. 2023, section 5.1), and compared by image similarity, text
similarity, and by the oracle: whether the place or object that an edited prompt asks for is there.
The second part learns two of the objects at several learning rates and numbers of vectors.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from diffusion_lens.analysis.statistics import mean_interval, sign_flip_test
from diffusion_lens.files import write_whole
from diffusion_lens.learning.concepts import Concept
from diffusion_lens.learning.invert import Look, invert
from diffusion_lens.learning.metrics import Embed, image_similarity, text_similarity, without_word
from diffusion_lens.learning.subjects import SUBJECTS, Subject
from diffusion_lens.learning.training import Settings
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.clip import Clip
from diffusion_lens.testbed import oracle
from diffusion_lens.text.embedding_files import read_embedding, write_embedding
from diffusion_lens.text.embeddings import Embedding, use_embeddings

__all__ = ["SETTINGS", "study", "summarise"]

GRID_SUBJECTS = ("parrot", "taxi")
SETTINGS = Settings(steps=150, rate=0.01, validate_every=50)
RATES = (0.002, 0.01, 0.05)
VECTORS = (1, 2, 4)


def study(
    lens: DiffusionLens,
    clip: Clip,
    folder: Path,
    *,
    subjects: Sequence[Subject] = SUBJECTS,
    settings: Settings | None = None,
    grid_steps: int = 60,
    samples: int = 16,
    progress: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Learn all subjects, then the grid, and measure; the same call goes on where it was stopped.

    Args:
        lens: an embedded model.
        clip: what compares pictures and texts.
        folder: for words, states, and the tables `concepts.csv`, `grid.csv` and `layers.csv` (`by_layer`).
        subjects: what to learn.
        settings: how; by default `SETTINGS`.
        grid_steps: steps of the second part; 0 leaves it out.
        samples: drawings for each measure; the paper has 64.
        progress: show progress bars.

    Returns:
        One row by concept, way ("word", "short", "long", "pictures", "no word") and measure; and one by
        concept, rate, vectors and measure, of words alone.
    """
    settings = settings or SETTINGS
    concepts = [one.concept() for one in subjects]
    words = _learn(lens, clip, concepts, settings, folder / "words", progress)
    table = _cached(folder / "concepts.csv", lambda: _compare(lens, clip, subjects, words, samples))
    _cached(folder / "layers.csv", lambda: by_layer(lens, clip, subjects, words))
    if not grid_steps:
        return table, pd.DataFrame()
    chosen = [one for one in subjects if one.name in GRID_SUBJECTS]
    cells = [(one, rate, count) for one in chosen for rate in RATES for count in VECTORS]
    tokens = [f"<{one.name}.{rate}.{count}>" for one, rate, count in cells]
    grid = [
        one.concept(count, rate, token) for (one, rate, count), token in zip(cells, tokens, strict=True)
    ]
    later = replace(settings, steps=grid_steps, validate_every=grid_steps)
    learned = _learn(lens, clip, grid, later, folder / "grid", progress)

    def measure_grid() -> pd.DataFrame:
        rows = []
        with use_embeddings(lens.pipeline, learned):
            for (one, rate, count), token in zip(cells, tokens, strict=True):
                values = _measure(lens, clip, one, token, samples)
                norm = float(learned[tokens.index(token)].rows["text_encoder"].norm(dim=-1).mean())
                rows += [
                    {"concept": one.name, "rate": rate, "vectors": count, "norm": norm,
                     "measure": name, "value": value}
                    for name, value in values.items()
                ]  # fmt: skip
        return pd.DataFrame(rows)

    return table, _cached(folder / "grid.csv", measure_grid)


def _learn(
    lens: DiffusionLens,
    clip: Clip,
    concepts: Sequence[Concept],
    settings: Settings,
    folder: Path,
    progress: bool,
) -> list[Embedding]:
    """Learn words side by side, or read those that an earlier call finished."""
    files = [folder / f"{one.token.strip('<>')}.safetensors" for one in concepts]
    if not all(path.is_file() for path in files):
        look = Look(_embed(clip))
        words = invert(lens, concepts, settings, look, folder / "training", progress=progress)
        for path, word in zip(files, words, strict=True):
            write_embedding(path, word, lens.pipeline)
    return [read_embedding(path, lens.pipeline) for path in files]


def _cached(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    if not path.is_file():
        table = make()
        write_whole(path, lambda file: table.to_csv(file, index=False, lineterminator="\n"))
    return pd.read_csv(path)


def _compare(
    lens: DiffusionLens, clip: Clip, subjects: Sequence[Subject], words: Sequence[Embedding], samples: int
) -> pd.DataFrame:
    rows = []
    with use_embeddings(lens.pipeline, words):
        for one in subjects:
            said = {"word": one.token, "short": one.short, "long": one.long, "no word": ""}
            ways = {way: _measure(lens, clip, one, text, samples) for way, text in said.items()}
            ways["pictures"] = _of_pictures(clip, one)
            rows += [
                {"concept": one.name, "kind": one.kind, "way": way, "measure": name, "value": value}
                for way, values in ways.items()
                for name, value in values.items()
            ]
    return pd.DataFrame(rows)


def by_layer(
    lens: DiffusionLens, clip: Clip, subjects: Sequence[Subject], words: Sequence[Embedding], seeds: int = 4
) -> pd.DataFrame:
    """At which layer a learned word looks like its pictures, and its real word.

    Returns:
        columns `concept`, `kind`, `way` ("word" or "real"), `layer`, `image` (image similarity).
    """
    rows = []
    with use_embeddings(lens.pipeline, words):
        for one in subjects:
            prompt = one.likenesses()[0]
            said = {prompt.replace("{}", one.token): "word", prompt.replace("{}", one.real): "real"}
            table = lens(list(said), "all", list(range(seeds)), progress=False).table
            for (text, layer), part in table.groupby(["prompt", "layer"]):
                alike = image_similarity(_embed(clip), part["image"].tolist(), one.pictures()).mean()
                rows.append((one.name, one.kind, said[str(text)], layer, float(alike)))
    return pd.DataFrame(rows, columns=["concept", "kind", "way", "layer", "image"])


def _embed(clip: Clip) -> Embed:
    return lambda pictures: clip.embed_images(list(pictures)).numpy()


def _draw(lens: DiffusionLens, prompts: Sequence[str], samples: int) -> dict[str, list[Image.Image]]:
    """Drawings by prompt, `samples` in all."""
    each = max(1, samples // len(prompts))
    table = lens(list(prompts), "native", list(range(each)), progress=False).table
    return {prompt: table["image"][table["prompt"] == prompt].tolist() for prompt in prompts}


def _measure(lens: DiffusionLens, clip: Clip, one: Subject, text: str, samples: int) -> dict[str, float]:
    """All measures of one way to say a concept; "" for leaving it out."""

    def say(prompt: str) -> str:
        return prompt.replace("{}", text) if text else without_word(prompt)

    alike = _draw(lens, [say(prompt) for prompt in one.likenesses()], samples)
    drawn = [image for images in alike.values() for image in images]
    edits = one.edits()
    edited = _draw(lens, [say(prompt) for prompt in edits.values()], samples)
    asked = [without_word(prompt) for prompt in edits.values()]
    texts = [
        text_similarity(clip, edited[say(prompt)], [about] * len(edited[say(prompt)])).mean()
        for prompt, about in zip(edits.values(), asked, strict=True)
    ]
    rights = [
        _shows(seen, wanted)
        for wanted, prompt in edits.items()
        for seen in oracle.read(np.stack([np.asarray(image) for image in edited[say(prompt)]]))
    ]
    likeness = image_similarity(_embed(clip), drawn, one.pictures()).mean()
    return {"image": float(likeness), "text": float(np.mean(texts)), "edit": float(np.mean(rights))}


def _shows(seen: oracle.Reading, wanted: str) -> bool:
    return seen.place == wanted or any(item.name == wanted for item in seen.objects)


def _of_pictures(clip: Clip, one: Subject) -> dict[str, float]:
    """The given pictures put out whatever is asked."""
    pictures = one.pictures()
    texts = [
        text_similarity(clip, pictures, [without_word(prompt)] * len(pictures)).mean()
        for prompt in one.edits().values()
    ]
    rights = [
        _shows(seen, wanted)
        for seen in oracle.read(np.stack([np.asarray(picture) for picture in pictures]))
        for wanted in one.edits()
    ]
    likeness = image_similarity(_embed(clip), pictures, pictures).mean()
    return {"image": float(likeness), "text": float(np.mean(texts)), "edit": float(np.mean(rights))}


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Means over concepts with 95 % intervals, and the word less each caption with a p value.

    Args:
        table: of `study`, by concept.

    Returns:
        columns `measure`, `way`, `mean`, `low`, `high`, and of the word less this way `gain`,
        `gain_low`, `gain_high`, `p` (sign flips); the unit is the concept.
    """
    rows = []
    for measure, part in table.groupby("measure", sort=False):
        wide = part.pivot(index="concept", columns="way", values="value")
        for way in wide.columns:
            row: dict[str, object] = {"measure": measure, "way": way}
            row |= dict(zip(("mean", "low", "high"), mean_interval(wide[way].to_numpy()), strict=True))
            if way != "word":
                gains = (wide["word"] - wide[way]).to_numpy()
                row |= dict(zip(("gain", "gain_low", "gain_high"), mean_interval(gains), strict=True))
                row["p"] = sign_flip_test(gains)
            rows.append(row)
    return pd.DataFrame(rows)
