"""The parts of the study of latent inversion: each draws, reads and judges, and gives a table of answers.

Test scenes are such that no training drew (see `unseen`); combinations of colour and object, and of objects
and relation, that training held back are in groups of their own. The oracle judges. An image that
overflowed has missing answers. The unit, in every table, is the scene.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice

import numpy as np
import pandas as pd
import torch
from PIL import Image

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
from experiments.studies.unseen import unseen_scenes

__all__ = ["PARTS", "StudyScenes"]

SEED = 90_001  # the stream of test scenes
SHARES = {"seen": 0.6, "new colour": 0.2, "new relation": 0.2}


class StudyScenes:
    """The scenes that are read, drawn and edited.

    Args:
        trained: the scenes that the trainings drew, which are skipped; all of them if None.
        steps: optimisation steps of what is called refined.
        beam: of captions that are written.
    """

    def __init__(self, trained: frozenset[Scene] | None = None, steps: int = 40, beam: int = 3) -> None:
        self.trained = trained
        self.steps = steps
        self.beam = beam

    def grouped(self, count: int) -> list[tuple[str, Scene]]:
        """Scenes with their group: combinations as in training, and two kinds of new ones."""
        drawn = []
        for group, share in SHARES.items():

            def draw(index: int, group: str = group) -> Scene:
                if group == "seen":
                    return scenes.sample(SEED, index, ("single", "pair", "count"))
                return scenes.sample_held_out(SEED, index, group.removeprefix("new "))

            found = islice(unseen_scenes(draw, self.trained), round(count * share))
            drawn += [(group, scene) for scene in found]
        return drawn

    def subjects(self, count: int) -> list[Scene]:
        """One tinted object of normal size at a place; no training drew it there, nor on plain ground."""

        def draw(index: int) -> Scene:
            return replace(scenes.sample(SEED + 1, index, ("single",)), place=PLAIN)

        suitable = (one for one in unseen_scenes(draw, self.trained) if _is_subject(one))
        placed = (
            replace(one, place=place) for one, place in zip(suitable, cycle(scenes.PLACES), strict=False)
        )
        return list(islice(unseen_scenes(lambda _: next(placed), self.trained), count))


def _is_subject(scene: Scene) -> bool:
    return scene.objects[0].colour is not None and scene.objects[0].size == scenes.SIZES["normal"]


def _render(drawn: Sequence[Scene]) -> list[Image.Image]:
    return [Image.fromarray(image) for image in scenes.render_batch(drawn)]


def _plain(stated: Description) -> str:
    return captions.plain(stated)


def _answers(
    inversion: LatentInversion, stated: Sequence[Description], sources: Mapping[str, States]
) -> pd.DataFrame:
    """Draw the conditionings of all sources and judge them."""
    tables = [
        _judged(stated, [images[0] for images in inversion.draw(states)]).assign(source=source)
        for source, states in sources.items()
    ]
    return pd.concat(tables, ignore_index=True)


def _judged(stated: Sequence[Description], drawn: Sequence[Image.Image | None]) -> pd.DataFrame:
    """One row for each image and check; missing where there is no image."""
    there = [image for image in drawn if image is not None]
    read = iter(oracle.read(np.stack([np.asarray(image) for image in there])) if there else [])
    rows = []
    for number, (one, image) in enumerate(zip(stated, drawn, strict=True)):
        if image is None:
            rows.append((number, _plain(one), "object", "", None))
            continue
        answers = judge(one, next(read))
        rows += [(number, _plain(one), answer.check, answer.about, answer.right) for answer in answers]
    table = pd.DataFrame(rows, columns=["scene", "caption", "check", "about", "right"])
    return table.astype({"right": "boolean"})


def redrawn(inversion: LatentInversion, chosen: StudyScenes, count: int) -> pd.DataFrame:
    """Images drawn again from R(x) or from written captions, against those of the true caption."""
    tables = []
    drawn = chosen.grouped(count)
    for group in SHARES:
        part = [scene for name, scene in drawn if name == group]
        stated = [captions.describe(scene) for scene in part]
        images = _render(part)
        written = write_captions(inversion, images, chosen.beam)
        sources = {
            "its caption": inversion.encode([_plain(one) for one in stated]),
            "R(image)": inversion.invert(images),
            "caption written": inversion.encode([one.text for one in written]),
        }
        tables.append(_answers(inversion, stated, sources).assign(group=group))
    return pd.concat(tables, ignore_index=True)


def retrieved(inversion: LatentInversion, chosen: StudyScenes, count: int) -> pd.DataFrame:
    """The reconstruction loss of rendered and of drawn images, and the rank of the true caption."""
    drawn = chosen.grouped(count)
    texts = [_plain(captions.describe(scene)) for _, scene in drawn]
    unique = list(dict.fromkeys(texts))
    states = inversion.encode(unique)
    true = [unique.index(text) for text in texts]
    made = [images[0] for images in inversion.draw(states[true])]
    tables = []
    for source, images in (("rendered", _render([one for _, one in drawn])), ("drawn by the model", made)):
        there = [number for number, image in enumerate(images) if image is not None]
        found = inversion.invert([image for image in images if image is not None])
        own = [true[number] for number in there]
        rank = ranks(found, states, own)
        table = pd.DataFrame(
            {
                "scene": there,
                "group": [drawn[number][0] for number in there],
                "caption": [texts[number] for number in there],
                "source": source,
                "error": relative_error(found, states[own], inversion.mean).tolist(),
                "check": "retrieved",
                "right": [one == 1 for one in rank],
            }
        )
        tables.append(table)
    return pd.concat(tables, ignore_index=True).assign(candidates=len(unique))


def edited(inversion: LatentInversion, chosen: StudyScenes, count: int) -> pd.DataFrame:
    """Another colour for an object in its place, against drawing the changed caption anew."""
    drawn, before, after, wanted = chosen.subjects(count), [], [], []
    for index, scene in enumerate(drawn):
        item = scene.objects[0]
        others = [c for c in COLOURS if c != item.colour and not scenes.colour_held_out(item.name, c)]
        target = replace(scene, objects=(replace(item, colour=others[index % len(others)]),))
        before.append(_plain(captions.describe(scene)))
        wanted.append(captions.describe(target))
        after.append(_plain(wanted[-1]))
    images = _render(drawn)
    read = inversion.invert(images)
    better = refine(inversion, images, steps=(chosen.steps,))[0].states
    sources = {"R(image)": read, "its caption": inversion.encode(after)}
    for name, change in (("shift", shift), ("swap", swap)):
        for start, states in ((name, read), (f"{name}, refined", better)):
            edits = zip(images, before, after, states, strict=True)
            sources[start] = torch.stack([change(inversion, *one) for one in edits])
    return _answers(inversion, wanted, sources)


def personalised(inversion: LatentInversion, chosen: StudyScenes, count: int) -> pd.DataFrame:
    """A subject of one image in another place, against its true words there."""
    images, prompts, wanted = [], [], []
    for scene in chosen.subjects(count):
        stated = replace(captions.describe(scene), place=scene.place)
        images += _render([replace(scene, place=PLAIN)])
        prompts.append(f"{{}} {captions.PLACE_PHRASES[scene.place]}")
        wanted.append(stated)
    sources = {"its words": inversion.encode([_plain(stated) for stated in wanted])}
    better = refine(inversion, images, steps=(chosen.steps,))[0].states
    for name, starts in (("one image", inversion.invert(images)), ("one image, refined", better)):
        given = zip(images, prompts, starts, strict=True)
        made = [personalise(inversion, one, text, start=start) for one, text, start in given]
        sources[name] = torch.stack(made)
    return _answers(inversion, wanted, sources)


def refined(inversion: LatentInversion, chosen: StudyScenes, count: int) -> pd.DataFrame:
    """Conditioning optimised through the denoiser, from R(x) and from starts without any image."""
    drawn = [scene for group, scene in chosen.grouped(count) if group == "seen"]
    stated = [captions.describe(scene) for scene in drawn]
    images = _render(drawn)
    tables = []
    for start in STARTS:
        for one in refine(inversion, images, start, (0, chosen.steps // 4, chosen.steps)):
            again = [several[0] for several in inversion.draw(one.states)]
            table = _judged(stated, again)
            errors = dict(enumerate(one.errors.tolist()))
            source = f"{start}, {one.steps} steps"
            tables.append(table.assign(source=source, error=table["scene"].map(errors)))
    return pd.concat(tables, ignore_index=True)


def by_layer(inversion: LatentInversion, chosen: StudyScenes, count: int) -> pd.DataFrame:
    """The cycle's error and the rank of the prompt at every layer of the text encoder."""
    prompts = list(dict.fromkeys(_plain(captions.describe(scene)) for _, scene in chosen.grouped(count)))
    table = measure_cycle(inversion, prompts, "all").rename(columns={"prompt": "caption"})
    right = (table["rank"] == 1).astype("boolean").where(table["rank"].notna())
    source = "layer " + table["layer"].astype(str)
    scene = table["caption"].map(prompts.index)
    return table.assign(source=source, check="retrieved", right=right, scene=scene).drop(columns="rank")


# each with its share of the scenes asked for
PARTS: Mapping[str, tuple[Callable[[LatentInversion, StudyScenes, int], pd.DataFrame], float]] = {
    "retrieved": (retrieved, 1.0),
    "redrawn": (redrawn, 1.0),
    "edited": (edited, 0.4),
    "personalised": (personalised, 0.4),
    "refined": (refined, 0.2),
    "cycle": (by_layer, 0.4),
}
