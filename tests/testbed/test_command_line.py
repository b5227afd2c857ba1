"""`diffusion-lens testbed ...` as a user meets it."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.testbed.scenes import Scene
from tests.command_line import run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_scenes_writes_a_sheet_and_the_scenes_as_data(capsys, folder: Path) -> None:
    code, out, err = run(capsys, "testbed", "scenes", "--n", "5", "--seed", "3")
    assert code == 0, err
    assert len(out.splitlines()) == 5 + 2  # captions, and where the files are
    with Image.open(folder / "scenes.png") as sheet:
        assert sheet.width == 8 * 128
    lines = (folder / "scenes.jsonl").read_text().splitlines()
    assert len([Scene.from_json(line) for line in lines]) == 5
    code, out, err = run(capsys, "testbed", "scenes")
    assert code == 2 and "scenes.png exists" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--stage", "diffusion"), "train stage autoencoder first"),
        ((), "No stage was given"),
        (("--stage", "clip", "--decoder-only"), "no setting decoder_only"),
        (("--stage", "clip", "--workers", "2"), "no setting workers"),
        (("--recipe", "emoji", "--resume"), "nothing to resume"),
        (("--recipe", "emoji", "--stage", "clip", "--lr", "1e-3"), "A recipe decides rate, stage itself"),
    ],
)
def test_train_says_what_is_missing(capsys, arguments: tuple[str, ...], told: str) -> None:
    code, _, err = run(capsys, "testbed", "train", "--folder", "new", *arguments)
    assert code == 2 and told in " ".join(err.split())
    assert "Traceback" not in err


def test_evaluate_writes_rates_and_every_answer(capsys, folder: Path) -> None:
    code, _, err = run(capsys, "testbed", "evaluate", "emoji", "--out", "accuracy.csv", "--captions", "6",
                       "--seeds", "0", "--no-synonyms", "--steps", "1")  # fmt: skip
    assert code == 0, err
    rates = pd.read_csv(folder / "accuracy.csv")
    assert {"encoder", "group", "layer", "check", "rate", "low", "high", "n"} <= set(rates.columns)
    answers = pd.read_parquet(folder / "accuracy.parquet")
    assert set(answers["encoder"]) == {"minilm"}
    assert {"relation", "axis", "order"} <= set(answers["check"])
