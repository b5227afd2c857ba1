"""`diffusion-lens testbed ...` as a user meets it."""

from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.testbed.choices import RecipeName, StageName
from diffusion_lens.testbed.recipe import RECIPES
from diffusion_lens.testbed.scenes import Scene
from diffusion_lens.testbed.train import STAGES
from tests.command_line import run


def test_scenes_writes_a_sheet_and_the_scenes_as_data(tmp_path: Path) -> None:
    done = run("testbed", "scenes", "--n", "5", "--seed", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5 + 2  # captions, and where the files are
    with Image.open(tmp_path / "scenes.png") as sheet:
        assert sheet.width == 8 * 128
    lines = (tmp_path / "scenes.jsonl").read_text().splitlines()
    assert len([Scene.from_json(line) for line in lines]) == 5
    again = run("testbed", "scenes", cwd=tmp_path)
    assert again.returncode == 2 and "scenes.png exists" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--stage", "diffusion"), "train stage autoencoder first"),
        ((), "No stage was given"),
        (("--stage", "clip", "--decoder-only"), "takes no --decoder-only"),
        (("--stage", "clip", "--workers", "2"), "takes no --workers"),
        (("--recipe", "emoji", "--keep-every", "64"), "give --stage with --keep-every"),
        (("--recipe", "emoji", "--resume"), "nothing to resume"),
        (("--recipe", "emoji", "--stage", "clip", "--lr", "1e-3"), "A recipe decides --lr, --stage itself"),
        (("--recipe", "emoji", "--decay-samples", "9"), "A recipe decides --decay-samples itself"),
        (
            ("--quick", "--stage", "clip", "--seed", "1", "--resume"),
            "--quick decides --seed, --stage, --resume itself",
        ),
    ],
)
def test_train_says_what_is_missing(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = run("testbed", "train", "--folder", "new", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_help_names_the_recipes_and_stages_that_there_are() -> None:
    assert set(get_args(RecipeName)) == RECIPES.keys()
    assert set(get_args(StageName)) == STAGES.keys()


def test_evaluate_writes_rates_and_every_answer(tmp_path: Path) -> None:
    done = run(
        "testbed",
        "evaluate",
        "emoji",
        "--out",
        "accuracy.csv",
        "--captions",
        "6",
        "--seeds",
        "0",
        "--no-synonyms",
        "--steps",
        "1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    rates = pd.read_csv(tmp_path / "accuracy.csv")
    assert {"encoder", "group", "layer", "check", "rate", "low", "high", "n"} <= set(rates.columns)
    answers = pd.read_parquet(tmp_path / "accuracy.parquet")
    assert set(answers["encoder"]) == {"minilm"}
    assert {"relation", "axis", "order"} <= set(answers["check"])
