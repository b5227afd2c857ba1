"""Samples of a run for people to judge."""

from collections import Counter

import pandas as pd
import pytest

from diffusion_lens.cli.sheet import read, write
from diffusion_lens.errors import CheckError, InputError, ScoresError
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.sheet import sample_questions
from tests.scoring.made_runs import make_run, scene

PROMPTS = ["a red fox", "a blue cat at night", "two dogs"]


@pytest.fixture
def run(tmp_path):
    make_run(tmp_path / "run", PROMPTS, lambda cell, prompt: scene(prompt))
    return tmp_path / "run"


def test_layers_are_sampled_evenly_and_each_image_is_asked_all_its_checks(run):
    questions = sample_questions(run, images=9, seed=3)
    images = {(one.prompt_id, one.layer, one.seed) for one in questions}
    assert len(images) == 9 and set(Counter(layer for _, layer, _ in images).values()) == {3}
    asked = {one.check.id for one in questions if one.prompt_id == "a blue cat at night"}
    assert asked == {"object-0", "attribute-0", "place-0"}
    assert {one.depth for one in questions} == {0.0, 0.5, 1.0}
    again = sample_questions(run, images=9, seed=3)
    assert [(one.prompt_id, one.layer) for one in again] == [
        (one.prompt_id, one.layer) for one in questions
    ]


def test_kinds_can_be_chosen_and_must_be_known(run):
    counts = sample_questions(run, kinds=["count"])
    # a count means nothing without the objects that are counted
    assert {one.check.id for one in counts} == {"object-0", "count-0"}
    with pytest.raises(CheckError, match="colour"):
        sample_questions(run, kinds=["colour"])
    with pytest.raises(CheckError, match="relation"):
        sample_questions(run, kinds=["relation"])


def test_from_page_to_scores_beside_the_run(run, tmp_path):
    page = tmp_path / "sheet.html"
    write(str(run), out=page, images=6)
    key = pd.read_csv(page.with_suffix(".key.csv"))
    answers = key[["sheet", "id"]].assign(
        answer=["yes", "no"] * (len(key) // 2) + ["unsure"] * (len(key) % 2)
    )
    answers.to_csv(tmp_path / "answers.csv", index=False)
    read(str(run), tmp_path / "answers.csv", key=page.with_suffix(".key.csv"), rater="human:ann")
    found = scores.read(run)
    assert set(found["scorer"]) == {"human:ann"} and len(found) == len(key)
    assert set(found["run"]) == {"run"} and found["label_ungated"].sum() == len(key) // 2
    # a second page of the same rater: answers to other questions are added, and none is replaced unasked
    (tmp_path / "two").mkdir()
    write(str(run), out=tmp_path / "two/sheet.html", images=12, seed=5)
    other = pd.read_csv(tmp_path / "two/sheet.key.csv")
    unsure = other[["sheet", "id"]].assign(answer="unsure")
    unsure.to_csv(tmp_path / "two/answers.csv", index=False)
    more = {"key": tmp_path / "two/sheet.key.csv", "rater": "human:ann"}
    read(str(run), tmp_path / "two/answers.csv", **more)
    both = scores.read(run)
    assert len(both) > len(key) and both["label_ungated"].sum() == len(key) // 2
    unsure.assign(answer="no").to_csv(tmp_path / "two/answers.csv", index=False)
    with pytest.raises(ScoresError, match=r"answered otherwise before by 'human:ann', .* --overwrite"):
        read(str(run), tmp_path / "two/answers.csv", **more)
    pd.testing.assert_frame_equal(scores.read(run), both)
    read(str(run), tmp_path / "two/answers.csv", **more, overwrite=True)
    last = scores.read(run)
    assert len(last) == len(both) and last["label_ungated"].sum() < len(key) // 2
    with pytest.raises(InputError, match="no run's folder"):
        read(str(tmp_path), tmp_path / "answers.csv", key=page.with_suffix(".key.csv"))


def test_names_of_a_sheet_survive_a_program_that_guesses_types(run, tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda size: f"{next(numbers):0{2 * size}d}")
    numbers = iter(range(100))
    page = tmp_path / "sheet.html"
    write(str(run), out=page, images=6)
    key = page.with_suffix(".key.csv")
    guessed, text = pd.read_csv(key), pd.read_csv(key, dtype=str)
    assert guessed[["sheet", "id"]].equals(text[["sheet", "id"]])
