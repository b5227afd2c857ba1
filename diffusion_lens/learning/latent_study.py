"""What latent inversion can do on the embedded model, counted by the oracle on scenes whose truth is known.

Scenes and words of the pictures are those that no training drew: rendered from streams of their own,
with combinations that training held back in groups of their own. Every part is a table of answers, kept
as it comes, so that a study that was stopped goes on with the parts that are missing.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from diffusion_lens.bench.accuracy import rates
from diffusion_lens.errors import InputError, OutputError
from diffusion_lens.files import write_whole
from diffusion_lens.learning.captioning import write_captions
from diffusion_lens.learning.cycle import measure_cycle, ranks
from diffusion_lens.learning.editing import personalise, shift, swap
from diffusion_lens.learning.latent_inversion import LatentInversion, States, relative_error
from diffusion_lens.learning.refining import STARTS, refine
from diffusion_lens.testbed import captions, oracle, scenes
from diffusion_lens.testbed.captions import Description
from diffusion_lens.testbed.judge import judge
from diffusion_lens.testbed.scenes import Scene
from diffusion_lens.testbed.sprites import COLOURS, PLAIN

__all__ = ["PARTS", "study", "summaries"]

log = logging.getLogger(__name__)
SEED = 90_001  # the stream of scenes
STEPS = 40  # of what is called refined
SHARES = {"seen": 0.6, "new colour": 0.2, "new relation": 0.2}


def _scenes(count: int) -> list[tuple[str, Scene]]:
    """Scenes with their group."""
    drawn = []
    for group, share in SHARES.items():
        for index in range(round(count * share)):
            if group == "seen":
                scene = scenes.sample(SEED, index, ("single", "pair", "count"))
            else:
                scene = scenes.sample_held_out(SEED, index, group.removeprefix("new "))
            drawn.append((group, scene))
    return drawn


def _subjects(count: int) -> list[Scene]:
    """One tinted object on a plain ground, frequent objects and all colours."""
    drawn = (replace(scenes.sample(SEED + 1, i, ("single",)), place=PLAIN) for i in range(100 * count))
    return [scene for scene in drawn if scene.objects[0].colour and scene.objects[0].size == 36][:count]


def _pictures(drawn: Sequence[Scene]) -> list[Image.Image]:
    return [Image.fromarray(picture) for picture in scenes.render_batch(drawn)]


def _plain(stated: Description) -> str:
    return captions.plain(stated)


def _answers(
    inversion: LatentInversion,
    stated: Sequence[Description],
    sources: dict[str, States],
    **columns: str | int,
) -> pd.DataFrame:
    """Draw conditionings of all sources and judge them: a row by picture and check."""
    tables = []
    for source, states in sources.items():
        drawn = [pictures[0] for pictures in inversion.draw(states)]
        tables.append(_judged(stated, drawn, source=source, **columns))
    return pd.concat(tables, ignore_index=True)


def _judged(
    stated: Sequence[Description], drawn: Sequence[Image.Image], **columns: str | int
) -> pd.DataFrame:
    seen = oracle.read(np.stack([np.asarray(picture) for picture in drawn]))
    rows = [
        {"caption": _plain(one), "check": answer.check, "about": answer.about, "right": answer.right}
        for one, reading in zip(stated, seen, strict=True)
        for answer in judge(one, reading)
    ]
    return pd.DataFrame(rows).astype({"right": "boolean"}).assign(**columns)


def redrawn(inversion: LatentInversion, count: int) -> pd.DataFrame:
    """Pictures drawn again from R(x) or from written captions, against those of the true caption."""
    tables = []
    for group in SHARES:
        part = [scene for name, scene in _scenes(count) if name == group]
        stated = [captions.describe(scene) for scene in part]
        pictures = _pictures(part)
        sources = {
            "its caption": inversion.encode([_plain(one) for one in stated]),
            "R(picture)": inversion.invert(pictures),
            "caption written": inversion.encode([one.text for one in write_captions(inversion, pictures)]),
        }
        tables.append(_answers(inversion, stated, sources, group=group))
    return pd.concat(tables, ignore_index=True)


def retrieved(inversion: LatentInversion, count: int) -> pd.DataFrame:
    """The reconstruction loss of rendered and of drawn pictures, and the rank of the true caption."""
    drawn = _scenes(count)
    stated = [captions.describe(scene) for _, scene in drawn]
    texts = [_plain(one) for one in stated]
    unique = list(dict.fromkeys(texts))
    states = inversion.encode(unique)
    true = [unique.index(text) for text in texts]
    tables = []
    for source, pictures in (
        ("rendered", _pictures([scene for _, scene in drawn])),
        ("drawn by the model", [pictures[0] for pictures in inversion.draw(states[true])]),
    ):
        found = inversion.invert(pictures)
        errors = relative_error(found, states[true], inversion.mean).tolist()
        tables.append(
            pd.DataFrame({"group": [group for group, _ in drawn], "caption": texts, "source": source,
                          "error": errors, "rank": ranks(found, states, true)})
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True).assign(candidates=len(unique))


def edited(inversion: LatentInversion, count: int) -> pd.DataFrame:
    """Another colour for an object in its place, against drawing the changed caption anew."""
    pictures, before, after, wanted = [], [], [], []
    for index, subject in enumerate(_subjects(count)):
        item = subject.objects[0]
        scene = replace(subject, place=scenes.PLACES[index % len(scenes.PLACES)])
        others = [c for c in COLOURS if c != item.colour and not scenes.colour_held_out(item.name, c)]
        target = replace(scene, objects=(replace(item, colour=others[index % len(others)]),))
        pictures += _pictures([scene])
        before.append(_plain(captions.describe(scene)))
        after.append(_plain(captions.describe(target)))
        wanted.append(captions.describe(target))
    read = inversion.invert(pictures)
    refined = refine(inversion, pictures, steps=(STEPS,))[0].states
    sources = {"R(picture)": read, "its caption": inversion.encode(after)}
    for name, change in (("shift", shift), ("swap", swap)):
        for start, states in ((name, read), (f"{name}, refined", refined)):
            edits = zip(pictures, before, after, states, strict=True)
            sources[start] = torch.stack([change(inversion, *one) for one in edits])
    return _answers(inversion, wanted, sources)


def personalised(inversion: LatentInversion, count: int) -> pd.DataFrame:
    """A subject of one picture in another place, against its true words there."""
    pictures, prompts, wanted, words = [], [], [], []
    for index, scene in enumerate(_subjects(count)):
        place = scenes.PLACES[index % len(scenes.PLACES)]
        stated = replace(captions.describe(scene), place=place)
        pictures += _pictures([scene])
        prompts.append(f"{{}} {captions.PLACE_PHRASES[place]}")
        wanted.append(stated)
        words.append(_plain(stated))
    sources = {"its words": inversion.encode(words)}
    refined = refine(inversion, pictures, steps=(STEPS,))[0].states
    for name, starts in (("one picture", inversion.invert(pictures)), ("one picture, refined", refined)):
        given = zip(pictures, prompts, starts, strict=True)
        sources[name] = torch.stack(
            [personalise(inversion, one, text, start=start) for one, text, start in given]
        )
    return _answers(inversion, wanted, sources)


def refined(inversion: LatentInversion, count: int, steps: Sequence[int] = (0, 10, 40)) -> pd.DataFrame:
    """Conditioning optimised through the denoiser, from R(x) and from what knows nothing."""
    drawn = [scene for group, scene in _scenes(count) if group == "seen"]
    stated = [captions.describe(scene) for scene in drawn]
    pictures = _pictures(drawn)
    tables = []
    for start in STARTS:
        for refining in refine(inversion, pictures, start, steps):
            again = [pictures[0] for pictures in inversion.draw(refining.states)]
            table = _judged(stated, again, source=start, steps=refining.steps)
            errors = dict(zip(map(_plain, stated), refining.errors.tolist(), strict=False))
            tables.append(table.assign(error=table["caption"].map(errors)))
    return pd.concat(tables, ignore_index=True)


def by_layer(inversion: LatentInversion, count: int) -> pd.DataFrame:
    """The cycle's error and the rank of the prompt at every layer of the text encoder."""
    prompts = list(dict.fromkeys(_plain(captions.describe(scene)) for _, scene in _scenes(count)))
    return measure_cycle(inversion, prompts, "all").rename(columns={"prompt": "caption"})


# each with its share of the scenes asked for
PARTS: dict[str, tuple[Callable[[LatentInversion, int], pd.DataFrame], float]] = {
    "retrieved": (retrieved, 1.0),
    "redrawn": (redrawn, 1.0),
    "edited": (edited, 0.4),
    "personalised": (personalised, 0.4),
    "refined": (refined, 0.2),
    "cycle": (by_layer, 0.4),
}


def study(inversion: LatentInversion, folder: Path, count: int = 100) -> dict[str, pd.DataFrame]:
    """Make the tables of all parts, or read those that are there.

    Args:
        inversion: a model with its R.
        folder: gets a table of answers by part, `<part>.parquet`.
        count: scenes of the larger parts.

    Raises:
        InputError: fewer than 10 scenes.
        OutputError: the folder can't be written.
    """
    if count < 10:
        raise InputError(f"{count} scenes are too few for a study; ask for 10 or more.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"folder {folder} can't be made: {error}") from error
    tables = {}
    for name, (make, share) in PARTS.items():
        path = folder / f"{name}.parquet"
        if not path.exists():
            log.info("part %s", name)
            table = make(inversion, round(count * share))
            write_whole(path, lambda file, table=table: table.to_parquet(file, index=False))  # type: ignore[misc]
        tables[name] = pd.read_parquet(path)
    return tables


def summaries(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Rates of all parts with intervals, the unit of which is the caption; and mean errors.

    Returns:
        `part`, `group`, `source`, `check`, `rate`, `low`, `high`, `n`, `captions`. The check "retrieved"
        is the share of pictures whose true caption is the nearest; "error" rows are means of the relative
        reconstruction loss, where 1 is the mean predictor's, with normal intervals.
    """
    keys = ["group", "source", "check"]
    parts = []
    for name, table in tables.items():
        table = table.assign(group=table.get("group", ""))
        if name == "cycle":
            table = table.assign(source="layer " + table["layer"].astype(str))
        if name == "refined":
            table = table.assign(source=table["source"] + ", " + table["steps"].astype(str) + " steps")
        if "rank" in table:
            right = (table["rank"] == 1).astype("boolean").where(table["rank"].notna())
            table = table.assign(check="retrieved", right=right)
        parts.append(rates(table, keys).assign(part=name))
        if "error" in table:
            parts.append(_mean_errors(table, keys).assign(part=name))
    return pd.concat(parts, ignore_index=True)[["part", *keys, "rate", "low", "high", "n", "captions"]]


def _mean_errors(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    per_caption = table.assign(check="error").groupby([*keys, "caption"])["error"].mean().reset_index()
    found = per_caption.groupby(keys)["error"].agg(["mean", "sem", "count"]).reset_index()
    half = 1.96 * found["sem"].fillna(0)
    return found[keys].assign(
        rate=found["mean"], low=found["mean"] - half, high=found["mean"] + half,
        n=found["count"], captions=found["count"],
    )  # fmt: skip
