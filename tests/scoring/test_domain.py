"""Scorers of the testbed answer on its images alone: a photograph never gets a firm no."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from diffusion_lens.checks.checks import Check
from diffusion_lens.models.clip import Clip
from diffusion_lens.models.encoder_variants import model_name
from diffusion_lens.scoring.domain import OUTSIDE
from diffusion_lens.scoring.score_run import Settings, score_run
from diffusion_lens.scoring.scorers.clip import ClipScorer
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from tests.scoring.made_runs import make_run, requests, scene

FOX = Check("object-0", "object", "Is there a fox?", subject="fox")


def photograph(seed: int, side: int = 512) -> Image.Image:
    """Smooth patches of colour with grain, as photographs are to a reader of flat scenes."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    smooth = np.asarray(rough.resize((side, side), Image.Resampling.BICUBIC), dtype=float)
    grain = rng.normal(0, 8, (side, side, 3))
    picture = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(1))


def portrait_on_white(seed: int) -> Image.Image:
    """A photograph of a thing on white ground, whose edges say nothing."""
    picture = Image.new("RGB", (512, 512), (250, 250, 250))
    picture.paste(photograph(seed, 320), (96, 96))
    return picture


@pytest.mark.parametrize("make", [photograph, portrait_on_white])
@pytest.mark.parametrize("model", [None, "stable-diffusion-v1-5/stable-diffusion-v1-5", "./my-model"])
def test_a_photograph_is_missing(make, model):
    judged = OracleScorer().score(requests([make(seed) for seed in range(8)], [[FOX]] * 8, model))
    for [one] in judged:
        assert one.label is None and one.p is None and one.reason.startswith(OUTSIDE)


VARIANT = {"text_encoder": "own+int8"}


@pytest.mark.parametrize(
    "model",
    [None, "emoji", "./my-model", model_name("emoji", VARIANT), model_name("./my-model", VARIANT)],
)
def test_a_scene_is_answered(model):
    [[fox], [cat]] = OracleScorer().score(requests([scene("a fox"), scene("a cat")], [[FOX]] * 2, model))
    assert fox.label is True and cat.label is False


def test_a_run_of_another_model_says_so(tmp_path):
    make_run(tmp_path / "run", ["a red fox"], lambda cell, prompt: scene(prompt), model="made/model")
    [found] = score_run(tmp_path / "run", [OracleScorer()], settings=Settings(progress=False))
    assert "not one check has an answer: not an image of the testbed: it was drawn by made/model" in (
        found.failed
    )
    assert found.table["label"].isna().all()


def test_the_clip_of_an_embedded_model_knows_its_domain_too():
    scorer = ClipScorer(Clip.from_pretrained("emoji-clip"))
    check = Check("c", "object", "?", answer="a fox", choices=("a fox", "a cat"))
    [[photo], [fox]] = scorer.score(requests([photograph(0), scene("a fox")], [[check]] * 2))
    assert photo.p is None and photo.reason.startswith(OUTSIDE) and fox.label is True
