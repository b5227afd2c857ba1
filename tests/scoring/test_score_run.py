"""Scoring a saved run: what is scored, what is missing, and how it goes on."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.checks.checks import Check, CheckedPrompt, Judgement
from diffusion_lens.errors import OutputError, RunError, ScorerError, ScoresError
from diffusion_lens.runs.images import RunImages
from diffusion_lens.runs.store import Store
from diffusion_lens.runs.table import DrawnCell
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.answer_store import AnswerStore
from diffusion_lens.scoring.baselines import partners
from diffusion_lens.scoring.measures import PixelMeasure
from diffusion_lens.scoring.score_run import Settings, score_run
from diffusion_lens.scoring.scorer import ScoreRequest
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from diffusion_lens.scoring.scorers.similarity import SimilarityScorer
from tests.command_line import run
from tests.scoring.made_runs import make_run, scene

PROMPTS = ("a red fox", "a cat to the left of a dog", "two apples", "a bear at night")
GREY = Image.new("RGB", (64, 64), (128, 128, 128))
QUIET = Settings(progress=False)


def late(cell, prompt):
    """Right from layer 1 on; layer 0 is grey."""
    return GREY if cell.layer == 0 else scene(prompt)


def rate(table: pd.DataFrame, **where: object) -> float:
    for name, value in where.items():
        table = table[table[name] == value]
    return float(table["label"].astype("Float64").mean())


class Counting(OracleScorer):
    """The oracle, which remembers what it was shown, and can stop."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.seen: list[tuple[bytes, tuple[str, ...]]] = []
        self.fails_after = fails_after

    def score(self, requests: Sequence[ScoreRequest]):
        if self.fails_after is not None and len(self.seen) >= self.fails_after:
            raise ScorerError("the server is gone")
        self.seen += [(one.image.tobytes(), tuple(check.id for check in one.checks)) for one in requests]
        return super().score(requests)


def test_a_run_becomes_the_documented_table(tmp_path):
    make_run(tmp_path / "run", PROMPTS, late)
    [found] = score_run(tmp_path / "run", [OracleScorer()], settings=QUIET)
    assert found.failed is None and found.path == "scores/oracle.parquet"
    table = scores.read(tmp_path / "run")
    assert list(table.columns[: len(scores.COLUMNS)]) == list(scores.COLUMNS)
    real = table[table["baseline"] == ""]
    assert len(real[real["check"] == "prompt"]) == 4 * 3 * 2
    assert rate(real, check="prompt", layer=0) == 0
    assert rate(real, check="prompt", layer=1) == rate(real, check="prompt", layer=2) == 1
    # there is no fox to be red: wrong, and the oracle itself did not answer
    grey = real[(real["layer"] == 0) & (real["check"] == "attribute-0")]
    assert not grey["label"].any() and grey["label"].notna().all() and grey["label_ungated"].isna().all()
    assert set(real["run"]) == {"run"} and set(real["prompt_id"]) == set(PROMPTS)
    assert real.groupby("layer")["depth"].first().tolist() == [0, 0.5, 1]
    assert set(real["category"]) == {"single", "pair", "count"}


def test_baselines_say_what_a_scorer_sees_where_nothing_is(tmp_path):
    make_run(tmp_path / "run", PROMPTS, late)
    score_run(tmp_path / "run", [OracleScorer()], settings=QUIET)
    table = scores.read(tmp_path / "run")
    assert set(table["scorer"]) == {"oracle", "oracle: shuffled", "oracle: blank", "oracle: noise"}
    for name in ("shuffled", "blank", "noise"):
        rows = table[table["baseline"] == name]
        assert set(rows["scorer"]) == {f"oracle: {name}"} and set(rows["seed"]) == {0}
        assert set(rows["layer"]) == {0, 1, 2} and rate(rows, check="prompt") == 0
    shuffled = table[table["baseline"] == "shuffled"]
    assert (shuffled["asked_of"] != shuffled["prompt_id"]).all()
    score_run(tmp_path / "run", [OracleScorer()], settings=replace(QUIET, baselines=False))
    assert set(scores.read(tmp_path / "run")["baseline"]) == {""}


def test_baselines_are_of_the_first_seed_of_each_prompt(tmp_path):
    make_run(tmp_path / "run", PROMPTS, late, noise="own")
    score_run(tmp_path / "run", [OracleScorer()], settings=QUIET)
    table = scores.read(tmp_path / "run")
    shuffled = table[table["baseline"] == "shuffled"]
    assert set(shuffled["prompt_id"]) == set(table["prompt_id"])
    assert (shuffled.groupby("prompt_id")["seed"].nunique() == 1).all()


def test_each_prompt_is_shuffled_with_another_of_its_category():
    def prompt(name: str, category: str) -> CheckedPrompt:
        return CheckedPrompt(name, name, (), category)

    listed = [prompt(f"{c}{i}", c) for c in "abc" for i in range({"a": 5, "b": 2, "c": 1}[c])]
    for seed in range(20):
        found = partners(listed, seed)
        assert sorted(found) == list(range(8)) and all(i != j for i, j in enumerate(found))
        assert all(listed[j].category == "b" for j in found[5:7])
    assert sorted(partners(listed[4:])) == [0, 1, 2, 3]
    assert partners(listed[:1]) == [None]
    alone = [prompt("x", "a"), prompt("y", "b")]
    assert partners(alone) == [1, 0]


def test_missing_pictures_are_missing_and_never_wrong(tmp_path):
    def draw(cell, prompt):
        if cell.seed == 1 and cell.layer == 1:
            return DrawnCell(cell, missing="blocked by the safety checker")
        if cell.seed == 1 and cell.layer == 2:
            return DrawnCell(cell, failed="out of memory")
        return scene(prompt)

    make_run(tmp_path / "run", PROMPTS[:2], draw)
    counting = Counting()
    [found] = score_run(tmp_path / "run", [counting], settings=QUIET)
    table = found.table[(found.table["baseline"] == "") & (found.table["check"] == "object-0")]
    table = table.set_index(["layer", "seed", "prompt_id"]).sort_index()
    assert table.loc[(1, 1)]["label"].isna().all()
    assert set(table.loc[(1, 1)]["reason"]) == {"blocked by the safety checker"}
    assert set(table.loc[(2, 1)]["reason"]) == {"not drawn: out of memory"}
    assert table["label"].dropna().all() and table["label"].notna().sum() == 8
    assert found.missing == {"blocked by the safety checker": 8, "not drawn: out of memory": 8}


def test_a_picture_that_was_missing_is_compared_with_once_it_is_drawn(tmp_path):
    def draw(cell, prompt):
        return DrawnCell(cell, failed="out of memory") if cell.layer == 2 else scene(prompt)

    def to_final() -> pd.DataFrame:
        [found] = score_run(tmp_path / "run", [SimilarityScorer(PixelMeasure())], settings=QUIET)
        table = found.table
        return table[(table["baseline"] == "") & (table["check"] == "to-final") & (table["layer"] < 2)]

    make_run(tmp_path / "run", PROMPTS[:2], draw)
    assert to_final()["p"].isna().all()
    make_run(tmp_path / "run", PROMPTS[:2], lambda cell, prompt: scene(prompt) if cell.layer == 2 else None)
    assert (to_final()["p"] == 1).all()


def test_a_picture_that_can_not_be_read_is_missing(tmp_path):
    plan = make_run(
        tmp_path / "run",
        PROMPTS[:2],
        lambda cell, prompt: DrawnCell(cell, b"\x89PNG cut") if cell.layer == 0 else scene(prompt),
    )
    [found] = score_run(tmp_path / "run", [OracleScorer()], settings=QUIET)
    real = found.table[found.table["baseline"] == ""]
    broken = real[real["layer"] == 0]
    assert broken["label"].isna().all() and broken["reason"].str.startswith("the image can't be").all()
    assert len(broken) * 3 == len(real) and len(plan) == 12


def test_an_unfinished_run_is_scored_as_far_as_it_is_and_then_only_what_is_new(tmp_path, caplog):
    folder = tmp_path / "run"
    make_run(folder, PROMPTS, lambda cell, prompt: scene(prompt) if cell.layer < 2 else None)
    first = Counting()
    with caplog.at_level(logging.WARNING):
        score_run(folder, [first], settings=QUIET)
    assert "8 of 24 images are not drawn yet" in caplog.text
    assert set(scores.read(folder)["layer"]) == {0, 1}
    make_run(folder, PROMPTS, lambda cell, prompt: scene(prompt) if cell.layer == 2 else None)
    second = Counting()
    score_run(folder, [second], settings=QUIET)
    assert set(scores.read(folder)["layer"]) == {0, 1, 2}
    # 8 new pictures, 4 of them of the first seed, against another prompt's checks too
    assert len(second.seen) == 12 and len(first.seen) == 24 + 8
    third = Counting()
    score_run(folder, [third], settings=QUIET)
    assert third.seen == []


def test_what_was_scored_before_a_scorer_failed_is_kept(tmp_path):
    make_run(tmp_path / "run", PROMPTS, late)
    settings = replace(QUIET, images_at_once=5, baselines=False)
    [found] = score_run(tmp_path / "run", [Counting(fails_after=10)], settings=settings)
    assert found.failed == "the server is gone" and found.new == 10
    rest = Counting()
    [found] = score_run(tmp_path / "run", [rest], settings=settings)
    assert found.failed is None and len(rest.seen) == 14
    assert len(found.table[found.table["check"] == "prompt"]) == 24


def test_a_scorer_that_fails_does_not_keep_the_others_from_it(tmp_path):
    make_run(tmp_path / "run", PROMPTS, late)
    found = score_run(
        tmp_path / "run", [Counting(fails_after=0), SimilarityScorer(PixelMeasure())], settings=QUIET
    )
    assert [one.failed is None for one in found] == [False, True]


def test_another_version_scores_anew_and_the_first_is_still_there(tmp_path):
    make_run(tmp_path / "run", PROMPTS, late)
    score_run(tmp_path / "run", [Counting()], settings=QUIET)
    newer = Counting()
    newer.version = "oracle 2"
    [refused] = score_run(tmp_path / "run", [newer], settings=QUIET)
    assert not newer.seen and "answers of other settings or versions (oracle" in (refused.failed or "")
    assert set(scores.read(tmp_path / "run")["version"]) == {Counting.version}
    score_run(tmp_path / "run", [newer], settings=replace(QUIET, overwrite=True))
    assert newer.seen and set(scores.read(tmp_path / "run")["version"]) == {"oracle 2"}
    again = Counting()
    score_run(tmp_path / "run", [again], settings=replace(QUIET, overwrite=True))
    assert not again.seen and set(scores.read(tmp_path / "run")["version"]) == {again.version}


def test_other_checks_are_asked_anew_where_the_former_answers_may_go(tmp_path):
    plain = replace(QUIET, baselines=False)
    make_run(tmp_path / "run", PROMPTS[:2], late)
    score_run(tmp_path / "run", [Counting()], settings=plain)
    before = scores.read(tmp_path / "run")
    given = [CheckedPrompt("x", PROMPTS[0], (Check("mine", "object", "?", subject="fox"),))]
    scorer = Counting()
    [found] = score_run(tmp_path / "run", [scorer], given=given, settings=plain)
    assert not scorer.seen and "holds answers to 2 checks not asked now, such as" in str(found.failed)
    pd.testing.assert_frame_equal(scores.read(tmp_path / "run"), before)
    anew = replace(plain, overwrite=True)
    [found] = score_run(tmp_path / "run", [scorer], given=given, settings=anew)
    assert len(scorer.seen) == 6 and {asked for _, asked in scorer.seen} == {("mine", "prompt")}
    of_first = found.table[found.table["prompt"] == PROMPTS[0]]
    assert set(of_first["check"]) == {"mine", "prompt"}
    other = [replace(given[0], checks=(Check("mine", "object", "?", subject="cat"),))]  # of the same id
    [found] = score_run(tmp_path / "run", [scorer], given=other, settings=plain)
    assert "one check not asked now, such as 'mine' of 'a red fox'" in str(found.failed)
    more = [replace(given[0], checks=(*given[0].checks, Check("too", "object", "?", subject="cat")))]
    [found] = score_run(tmp_path / "run", [scorer], given=more, settings=plain)
    assert found.failed is None and set(found.table["check"]) >= {"mine", "too"}


def test_answers_that_may_come_with_another_try_are_asked_for_again(tmp_path):
    class Late(Counting):
        def score(self, requests):
            super().score(requests)
            return [
                [Judgement(check.id, reason="timed out", retry=True) for check in one.checks]
                for one in requests
            ]

    make_run(tmp_path / "run", PROMPTS[:2], late)
    settings = replace(QUIET, baselines=False)
    [found] = score_run(tmp_path / "run", [Late()], settings=settings)
    assert found.missing == {"timed out": len(found.table)}
    assert found.failed == "not one check has an answer: timed out"
    second = Counting()
    [found] = score_run(tmp_path / "run", [second], settings=settings)
    assert len(second.seen) == 12 and rate(found.table, check="prompt", layer=2) == 1
    assert not found.table.duplicated(list(scores.KEY)).any()


def test_the_pictures_of_a_prompt_come_in_random_order_that_a_seed_decides(tmp_path):
    def draw(cell, prompt):
        return Image.new("RGB", (64, 64), (cell.layer, cell.seed, 0))

    make_run(tmp_path / "run", PROMPTS[:2], draw, layers=range(12))

    def order(seed: int) -> list[int]:
        scorer = Counting()
        scorer.version = f"of seed {seed}, {os.urandom(4).hex()}"
        settings = replace(QUIET, seed=seed, baselines=False, overwrite=True)
        score_run(tmp_path / "run", [scorer], settings=settings)
        return [image[0] for image, _ in scorer.seen]

    first = order(0)
    assert sorted(first[:24]) == sorted([*range(12)] * 2) and first[:24] != sorted(first[:24])
    assert first == order(0) and first != order(1)
    assert first[:24] != first[24:]


def test_several_readouts_of_one_layer_are_runs_of_their_own(tmp_path):
    make_run(tmp_path / "run", PROMPTS[:2], late, readouts=("native", "none"))
    score_run(tmp_path / "run", [OracleScorer()], settings=QUIET)
    table = scores.read(tmp_path / "run")
    # the name says what differs; what all readings share is said once, of the run
    assert set(table["run"]) == {"run (native)", "run (none)"}
    assert RunImages(tmp_path / "run").reading == "pooled hold, slots all"


def test_similarity_of_layers_has_known_values(tmp_path):
    shades = {0: 0, 1: 51, 2: 153}

    def draw(cell, prompt):
        level = shades[cell.layer] + (102 if prompt == PROMPTS[1] else 0)
        return Image.new("RGB", (64, 64), (level,) * 3)

    make_run(tmp_path / "run", PROMPTS[:2], draw, seeds=(0,))
    [found] = score_run(tmp_path / "run", [SimilarityScorer(PixelMeasure())], settings=QUIET)
    real = found.table[found.table["baseline"] == ""]
    final = real[real["check"] == "to-final"].groupby("layer")["p"].first()
    assert final.tolist() == pytest.approx([0.4, 0.6, 1.0])
    previous = real[real["check"] == "to-previous"].set_index(["prompt", "layer"])
    assert previous.loc[PROMPTS[0]]["p"].tolist() == [pd.NA, 0.8, 0.6]
    assert previous.loc[(PROMPTS[0], 0), "reason"] == "no layer was drawn before it"
    shuffled = found.table[(found.table["baseline"] == "shuffled") & (found.table["layer"] == 2)]
    assert shuffled["p"].tolist() == pytest.approx([0.6, 0.6])
    blank = found.table[found.table["baseline"] == "blank"].groupby("prompt")["p"].first()
    assert blank[PROMPTS[0]] == pytest.approx(1 - 25 / 255)
    assert found.table["label"].isna().all()


def test_one_prompt_has_no_other_to_be_shuffled_with(tmp_path, caplog):
    make_run(tmp_path / "run", PROMPTS[:1], late)
    [found] = score_run(tmp_path / "run", [OracleScorer()], settings=QUIET)
    assert set(found.table["baseline"]) == {"", "blank", "noise"}
    assert "There is one prompt only" in caplog.text


def test_a_scorer_that_can_judge_nothing_says_so(tmp_path):
    class Counts(Counting):
        name = "counts"
        kinds = frozenset({"count"})

    make_run(tmp_path / "run", PROMPTS[:1], late)
    [found] = score_run(tmp_path / "run", [Counts()], settings=QUIET)
    assert "can judge none of the checks of this run" in found.failed
    assert found.path is None and not (tmp_path / "run" / "scores").exists()


def test_faults_of_the_run_are_named(tmp_path):
    with pytest.raises(RunError, match="is no run"):
        score_run(tmp_path, [OracleScorer()])
    make_run(tmp_path / "run", PROMPTS, lambda cell, prompt: None)
    with pytest.raises(RunError, match="has no images yet"):
        score_run(tmp_path / "run", [OracleScorer()])


def test_a_damaged_part_of_scores_is_named(tmp_path):
    make_run(tmp_path / "run", PROMPTS[:2], late)
    score_run(tmp_path / "run", [OracleScorer()], settings=QUIET)
    [part] = (tmp_path / "run/scores/parts").rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ScoresError, match=r"part-000000.*is cut short or damaged"):
        score_run(tmp_path / "run", [OracleScorer()], settings=QUIET)


@pytest.mark.parametrize("linked", ["scores", "scores/parts"])
def test_scores_are_not_written_through_a_link(tmp_path, linked):
    make_run(tmp_path / "run", PROMPTS[:2], late)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "run" / linked).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / linked).symlink_to(elsewhere)
    counting = Counting()
    with pytest.raises(OutputError, match=rf"run/{linked} is a symbolic link to .*elsewhere, where"):
        score_run(tmp_path / "run", [counting], settings=QUIET)
    assert not counting.seen  # said before anything is judged
    assert not list(elsewhere.iterdir())


def test_no_scorer_is_asked_whose_answers_can_not_be_kept(tmp_path):
    make_run(tmp_path / "run", PROMPTS[:1], late)
    (tmp_path / "run/scores").write_text("a file in the place of the folder")
    scorer = Counting()
    with pytest.raises(OutputError, match="can't be written"):
        score_run(tmp_path / "run", [scorer], settings=QUIET)
    assert not scorer.seen


def test_a_run_that_is_itself_a_link_is_scored(tmp_path):
    make_run(tmp_path / "run", PROMPTS[:2], late)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    score_run(tmp_path / "link", [OracleScorer()], settings=QUIET)
    assert (tmp_path / "run/scores/oracle.parquet").exists()


def test_the_command_line_scores_and_names_what_is_not_there(tmp_path):
    make_run(tmp_path / "run", PROMPTS, late)
    arguments = [
        "score",
        "run",
        "--scorer",
        "oracle",
        "similarity",
        "endpoint",
        "clip",
        "--clip.model",
        "nowhere/x",
    ]
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "endpoint: The scorer endpoint needs an address" in done.stderr
    assert "the scorer clip can't load nowhere/x" in done.stderr
    assert (
        "run/scores/oracle.parquet" in done.stdout and "run/scores/similarity-ssim.parquet" in done.stdout
    )
    assert "4 of 4 prompts have their checks from their words" in done.stderr
    assert set(scores.read(tmp_path / "run")["scorer"]) >= {"oracle", "oracle: noise", "similarity-ssim"}


def test_an_answer_is_the_last_one_also_after_a_damaged_part_was_deleted(tmp_path):
    store = Store(tmp_path)
    for number in range(8):
        answers = AnswerStore(store, "s", "1")
        answers.done()
        answers.add("x", f"asked {number}", [Judgement("c", label=False)])
        answers.flush()
    folder = tmp_path / "scores/parts/s"
    next(folder.rglob("part-000003*")).unlink()
    again = AnswerStore(store, "s", "1")
    again.done()
    again.add("x", "asked 7", [Judgement("c", label=True)])
    again.flush()
    assert sorted(path.name[:11] for path in folder.rglob("*.parquet"))[-1] == "part-000008"
    found = again.read().set_index("asked")
    assert bool(found.loc["asked 7", "label"])
