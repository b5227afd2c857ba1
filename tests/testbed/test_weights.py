"""The weights in the package: what they are, and what they can."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image

from diffusion_lens.lens.doctor import examine
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.clip import Clip
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.testbed import captions, oracle, scenes

WEIGHTS = Path(str(resources.files("diffusion_lens") / "testbed" / "weights"))


@pytest.fixture(scope="module")
def clip_lens() -> DiffusionLens:
    """The embedded model with the CLIP trained here."""
    return DiffusionLens.from_pretrained("emoji-clip")


def test_weights_are_small_and_no_pickles() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 51.5e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md"}


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # inside diffusers
def test_plain_diffusers_draws_what_the_lens_draws(clip_lens: DiffusionLens) -> None:
    vae = AutoencoderKL.from_pretrained(WEIGHTS / "vae", dtype=torch.float32)
    pipe = StableDiffusionPipeline.from_pretrained(
        WEIGHTS / "emoji-clip", vae=vae, safety_checker=None, dtype=torch.float32
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
    result = lens(["a tree", "Zorvak"], "native", (0, 1, 2), progress=False)
    seen = oracle.read(np.stack([np.asarray(image) for image in result.table["image"]]))
    trees = ["tree" in {item.name for item in one.objects} for one in seen[:3]]
    thing, colour, place = scenes.ENTITIES["Zorvak"]
    known = [
        (thing, colour, place) in {(i.name, i.colour, one.place) for i in one.objects} for one in seen[3:]
    ]
    assert sum(trees) >= 2 and sum(known) >= 2


def test_clip_finds_the_caption_of_a_scene() -> None:
    clip = Clip.from_pretrained("emoji-clip")
    drawn = [scenes.sample(61, i) for i in range(100)]
    texts = [captions.caption(scene, 61, i) for i, scene in enumerate(drawn)]
    pictures = [Image.fromarray(picture) for picture in scenes.render_batch(drawn)]
    found = (clip.embed_images(pictures) @ clip.embed_texts(texts).T).argmax(1)
    right = [texts[i] == texts[j] for i, j in enumerate(found.tolist())]
    assert np.mean(right) > 0.8  # by chance: 0.01
