"""Scores stay with the images of their run, whatever it was called when they were scored."""

import pandas as pd
import pytest

from diffusion_lens.errors import ScoresError
from diffusion_lens.pages.report import build_report
from diffusion_lens.scoring.former import save_answers
from diffusion_lens.scoring.score_run import Settings, score_run
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from diffusion_lens.scoring.sheet import read_answers, sample_questions, write_sheet
from diffusion_lens.scoring.table import read
from tests.scoring.made_runs import make_run, scene

QUIET = Settings(progress=False)
PROMPTS = ["a red fox", "two apples"]


def answer(page, run, rater="human:ann"):
    """What a rater says who sees nothing but red foxes."""
    key = write_sheet(page, sample_questions(run), seed=0)
    table = pd.read_csv(key)
    table.assign(answer="yes")[["sheet", "id", "answer"]].to_csv(page.with_suffix(".csv"), index=False)
    return read_answers(page.with_suffix(".csv"), key, scorer=rater)


def test_a_renamed_run_is_one_run_to_all_who_judged_it(tmp_path):
    before, now = tmp_path / "pilot (b)", tmp_path / "final"
    make_run(before, PROMPTS, lambda cell, prompt: scene(prompt))
    score_run(before, [OracleScorer()], settings=QUIET)
    people = answer(tmp_path / "sheet.html", before)
    save_answers(before, people)
    assert set(read(before)["run"]) == {"pilot (b)"}
    before.rename(now)
    score_run(now, [one_called("second")], settings=QUIET)
    found = read(now)
    assert set(found["scorer"]) >= {"oracle", "oracle: blank", "second", "human:ann"}
    assert set(found["run"]) == {"final"}
    # answers to a page of the former name, of the same images, go together with those from before
    save_answers(now, people)
    pd.testing.assert_frame_equal(read(now), found)


def one_called(name: str) -> OracleScorer:
    scorer = OracleScorer()
    scorer.name = name
    return scorer


def test_readings_that_are_added_part_no_answers_from_their_images(tmp_path):
    run = tmp_path / "run"
    make_run(run, PROMPTS, lambda cell, prompt: scene(prompt))
    score_run(run, [OracleScorer()], settings=QUIET)
    save_answers(run, answer(tmp_path / "sheet.html", run))

    def others(cell, prompt):
        return None if cell.reading < 3 else scene(prompt)

    make_run(run, PROMPTS, others, readouts=("native", "none"))
    assert set(read(run)["run"]) == {"run (native)"}
    score_run(run, [OracleScorer()], settings=QUIET)
    runs = read(run).groupby("scorer")["run"].agg(set)
    assert runs["human:ann"] == {"run (native)"} and runs["oracle"] == {"run (native)", "run (none)"}


def test_answers_on_images_of_another_run_are_refused(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    make_run(one, PROMPTS, lambda cell, prompt: scene(prompt))
    make_run(other, PROMPTS, lambda cell, prompt: scene(prompt), model="emoji-clip")
    people = answer(tmp_path / "sheet.html", one)
    told = rf"{len(people)} of {len(people)} answers .*other does not hold, such as .* of the run 'one'"
    for table in (people, people.drop(columns="cell")):
        with pytest.raises(ScoresError, match=told):
            save_answers(other, table)
    assert not (other / "scores").exists()
    save_answers(one, people.drop(columns="cell"))  # of a key that names no cells
    assert read(one)["cell"].tolist() == people["cell"].tolist()


@pytest.mark.parametrize("name", ["oracle", "similarity-clip", "second", "human: blank"])
def test_a_person_is_not_called_as_a_scorer_is(tmp_path, name):
    make_run(tmp_path / "run", PROMPTS, lambda cell, prompt: scene(prompt))
    score_run(tmp_path / "run", [one_called("second")], settings=QUIET)
    with pytest.raises(
        ScoresError, match=f"{name!r} is the name of a scorer, .* such as --rater human:ann"
    ):
        save_answers(
            tmp_path / "run", answer(tmp_path / "sheet.html", tmp_path / "run", name), overwrite=True
        )


def test_what_people_said_stands_beside_its_image_in_the_report(tmp_path):
    run = tmp_path / "run"
    make_run(run, PROMPTS, lambda cell, prompt: scene(prompt))
    save_answers(run, answer(tmp_path / "sheet.html", run))
    page = build_report([run])
    assert "human:ann" in page and "holds no scores of this run" not in page


def test_a_table_that_was_edited_by_hand_is_read_by_the_report_as_by_the_analysis(tmp_path):
    run = tmp_path / "run"
    make_run(run, PROMPTS, lambda cell, prompt: scene(prompt))
    score_run(run, [OracleScorer()], settings=QUIET)
    file = run / "scores/oracle.parquet"
    table = pd.read_parquet(file)
    before = build_report([run])
    words = table["label"].astype(object).map({True: "yes", False: "no"})
    table.assign(label=words).to_parquet(file)
    assert build_report([run]) == before
    table.assign(label="maybe").to_parquet(file)
    assert "oracle.parquet holds no scores of this run (The column label" in build_report([run])
