"""The weights in the package: what they are, and what they can."""

import re
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image

from diffusion_lens.lens.doctor import examine
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.clip import Clip
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.int8 import load_denoiser
from diffusion_lens.testbed import captions, oracle, scenes

WEIGHTS = Path(str(resources.files("diffusion_lens") / "testbed" / "weights"))
ACCURACY = Path(__file__).parents[2] / "results" / "testbed" / "accuracy.csv"
# rows of the model card's table of figures: the group and the checks of their numbers, in order
FIGURES = {
    "object present": [("seen", "object")],
    "colour, given the object": [("seen", "colour")],
    "count, given the object": [("seen", "count")],
    "place": [("seen", "place")],
    "relation, given both (chance: 25 %)": [("seen", "relation")],
    "axis of the relation, given both (chance: 50 %)": [("seen", "axis")],
    "order, given the axis (chance: 50 %)": [("seen", "order")],
    "held-out colours: object, colour": [("new colour", "object"), ("new colour", "colour")],
    "held-out relations: object, relation": [("new relation", "object"), ("new relation", "relation")],
    "held-out relations: axis, order": [("new relation", "axis"), ("new relation", "order")],
    "rarest tenth of objects": [("rare objects", "object")],
    "invented names: commonest tenth, rarest tenth": [("common names", "name"), ("rare names", "name")],
    "nouns that no caption held: object": [("synonyms of objects", "object")],
    "colour words that no caption held: colour": [("synonyms of colours", "colour")],
}


@pytest.fixture(scope="module")
def clip_lens() -> DiffusionLens:
    """The embedded model with the CLIP trained here."""
    return DiffusionLens.from_pretrained("emoji-clip")


def test_weights_are_small_and_no_pickles() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 52e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md"}


def test_model_card_says_what_the_table_says() -> None:
    rates = pd.read_csv(ACCURACY).set_index(["encoder", "group", "check"])["rate"]
    card = (WEIGHTS / "README.md").read_text()
    start = card.index("| right, last layer |")
    head, _, *rows = card[start:].split("\n\n")[0].splitlines()
    models = re.findall(r"`([\w-]+)`", head)
    assert models == list(EMBEDDED)
    assert [row.strip("|").split("|")[0].strip() for row in rows] == list(FIGURES)
    for row in rows:
        label, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        for model, cell in zip(models, cells, strict=True):
            said = re.findall(r"(\d+(?:\.\d)?) %", cell)
            assert len(said) == len(FIGURES[label]), (label, cell)
            for number, (group, check) in zip(said, FIGURES[label], strict=True):
                rate = 100 * rates[EMBEDDED[model].encoder, group, check]
                digits = len(number.partition(".")[2])
                assert abs(rate - float(number)) <= 0.5 * 10**-digits + 1e-6, (label, model, rate)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # inside diffusers
def test_plain_diffusers_draws_what_the_lens_draws(clip_lens: DiffusionLens) -> None:
    vae = AutoencoderKL.from_pretrained(WEIGHTS / "vae", dtype=torch.float32)
    unet = load_denoiser(WEIGHTS / "emoji-clip" / "unet", torch.float32)
    pipe = StableDiffusionPipeline.from_pretrained(
        WEIGHTS / "emoji-clip", vae=vae, unet=unet, safety_checker=None, dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    plain = pipe("a dog", num_inference_steps=2, guidance_scale=4.0, generator=torch.manual_seed(3))
    drawn = clip_lens("a dog", "native", 3, steps=2, guidance=4.0, progress=False)
    assert (np.asarray(plain.images[0]) == np.asarray(drawn.image("native", 3))).all()


def test_doctor_finds_nothing(clip_lens: DiffusionLens) -> None:
    checks = examine(clip_lens, "a red fox to the left of a pizza", steps=1)
    # how long something takes is the machine's affair
    failed = [check.name for check in checks if not check.passed and not check.name.startswith("time")]
    assert not failed


@pytest.mark.parametrize("name", EMBEDDED)
def test_draws_frequent_things_as_the_oracle_knows_them(name: str) -> None:
    lens = DiffusionLens.from_pretrained(name)
    result = lens(["a tree", "Zorvak"], "native", (0, 1), steps=10, progress=False)
    seen = oracle.read(np.stack([np.asarray(image) for image in result.table["image"]]))
    trees = ["tree" in {item.name for item in one.objects} for one in seen[:2]]
    thing, colour, place = scenes.ENTITIES["Zorvak"]
    known = [
        (thing, colour, place) in {(i.name, i.colour, one.place) for i in one.objects} for one in seen[2:]
    ]
    assert any(trees) and any(known)


def test_clip_finds_the_caption_of_a_scene() -> None:
    clip = Clip.from_pretrained("emoji-clip")
    drawn = [scenes.sample(61, i) for i in range(100)]
    texts = [captions.caption(scene, 61, i) for i, scene in enumerate(drawn)]
    pictures = [Image.fromarray(picture) for picture in scenes.render_batch(drawn)]
    found = (clip.embed_images(pictures) @ clip.embed_texts(texts).T).argmax(1)
    right = [texts[i] == texts[j] for i, j in enumerate(found.tolist())]
    assert np.mean(right) > 0.8  # by chance: 0.01
