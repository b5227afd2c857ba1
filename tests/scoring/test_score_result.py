"""Images in memory are scored as those of a run are."""

import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.checks.checks import Check, CheckedPrompt
from diffusion_lens.errors import ScorerError
from diffusion_lens.lens.result import Result
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.judge_images import image_difference, judge_images, share_right
from diffusion_lens.scoring.score_result import score_result
from diffusion_lens.scoring.score_run import Settings, score_run
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from tests.scoring.made_runs import make_run, scene

GREY = Image.new("RGB", (64, 64), (128, 128, 128))
PROMPTS = ["a red fox", "two apples"]


def result(**columns: object) -> Result:
    rows = [
        {
            "prompt": prompt,
            "encoder": "text_encoder",
            "layer": layer,
            "native": False,
            "readout": "final",
            "seed": seed,
            "model": "emoji",
            "missing": None,
            "image": scene(prompt) if layer else GREY,
        }
        for prompt in PROMPTS
        for seed in (0, 1)
        for layer in (0, 1, 2)
    ]
    return Result(pd.DataFrame(rows).assign(**columns), {})


def test_the_scores_are_those_of_a_run(tmp_path):
    make_run(tmp_path / "run", PROMPTS, lambda cell, prompt: scene(prompt) if cell.layer else GREY)
    quiet = Settings(progress=False, baselines=False)
    [found] = score_run(tmp_path / "run", [OracleScorer()], settings=quiet)
    keys = ["prompt_id", "layer", "seed", "check"]
    mine = score_result(result(), "oracle").sort_values(keys, ignore_index=True)
    theirs = found.table.sort_values(keys, ignore_index=True)
    same = [*keys, "kind", "parents", "depth", "p", "label", "reason", "p_ungated", "label_ungated"]
    pd.testing.assert_frame_equal(mine[same], theirs[same], check_dtype=False)
    assert tuple(mine.columns[: len(scores.COLUMNS)]) == scores.COLUMNS


def test_depth_is_of_the_encoder_also_where_its_last_layer_was_not_drawn(emoji):
    drawn = emoji("a red fox", [0, 3], steps=1, progress=False)
    assert set(score_result(drawn, "oracle")["depth"]) == {0.0, 0.5}
    read = Result(drawn.table, {})  # as from a file, where nobody knows
    assert set(score_result(read, "oracle")["depth"]) == {0.0, 1.0}
    assert set(judge_images(drawn.table, "a red fox")["depth"]) == {0.0, 1.0}


def test_a_share_of_checks_is_missing_where_one_is_of_a_kind_that_the_scorer_does_not_judge():
    table = pd.DataFrame(
        {"cell": ["one"], "encoder": "text_encoder", "layer": 0, "seed": 0, "image": [scene("a red fox")]}
    )
    both = ["object-0", "attribute-0"]
    assert share_right(judge_images(table, "a red fox"), both).to_dict() == {"one": 1.0}
    objects = OracleScorer()
    objects.kinds = frozenset({"object"})
    answers = judge_images(table, "a red fox", objects)
    assert share_right(answers, both).isna().to_dict() == {"one": True}
    assert share_right(answers, ["object-0"]).to_dict() == {"one": 1.0}


def test_missing_images_are_missing_with_their_reason():
    one = result()
    one.table.loc[one.table["layer"] == 1, "image"] = None
    one.table.loc[one.table["layer"] == 1, "missing"] = "it overflowed"
    found = score_result(one, "oracle")
    gone = found[found["layer"] == 1]
    assert gone["label"].isna().all() and set(gone["reason"]) == {"it overflowed"}
    assert found[found["layer"] == 2]["label"].all()


def test_similarity_compares_within_a_series():
    found = score_result(result(), "similarity")
    final = found[(found["check"] == "to-final") & (found["scorer"] == "similarity-pixel")]
    assert final[final["layer"] == 2]["p"].eq(1).all() and final[final["layer"] == 0]["p"].lt(0.9).all()
    first = found[(found["check"] == "to-previous") & (found["layer"] == 0)]
    assert first["p"].isna().all() and found["label"].isna().all()


def test_the_native_image_is_the_last_of_its_series_unless_its_layer_is_drawn_too():
    table = result(site="0").table
    table["site"] = table["layer"].astype(str)
    table["native"] = table["layer"] == 2
    # a part of the same block repeats no layer
    part = table[table["layer"] == 2].assign(native=False, site="2.attn")
    part["image"] = [GREY] * len(part)
    found = score_result(Result(pd.concat([table, part]), {}), "similarity")
    final = found[(found["check"] == "to-final") & (found["scorer"] == "similarity-pixel")]
    layers = final[final["run"] == "emoji final"].groupby("layer")["p"].mean()
    assert list(layers.index) == [0, 1, 2] and layers[1] == layers[2] == 1 and layers[0] < 0.9
    assert set(final["run"]) == {"emoji final", "emoji attn final"}
    # its layer as such, read without the pipeline's other slots: the native image comes once more
    again = pd.concat([table, table[table["native"]].assign(native=False)])
    twice = score_result(Result(again, {}), "similarity")
    told = twice.groupby("run")["layer"].agg(set).to_dict()
    assert told == {"emoji final": {0, 1, 2}, "emoji final at the native tap": {2}}


@pytest.mark.parametrize("column", ["pooled", "slots", "revision"])
def test_readings_that_differ_in_one_column_are_scored_apart(column):
    tables = [result(**{column: one}).table for one in ("one", "other")]
    tables[1]["image"] = [GREY] * len(tables[1])
    found = score_result(Result(pd.concat(tables), {}), "oracle")
    right = found[found["layer"] == 2].groupby("run")["label"].mean().to_dict()
    assert right == {f"emoji final {column} one": 1, f"emoji final {column} other": 0}
    assert set(score_result(Result(tables[0], {}), "oracle")["run"]) == {"emoji final"}


def test_the_layer_that_the_pipeline_reads_is_one_of_its_series(emoji):
    drawn = emoji("a red fox", [0, 3, 6], steps=1, progress=False)
    assert drawn.table["native"].tolist() == [False, False, True]
    found = score_result(drawn, "similarity")
    assert found["run"].nunique() == 1
    alike = 1 - image_difference(drawn.image(3), drawn.image(6))
    pixels = found[found["scorer"] == "similarity-pixel"].set_index(["check", "layer"])["p"]
    assert pixels["to-final", 6] == 1
    assert pixels["to-final", 3] == pytest.approx(alike) == pytest.approx(pixels["to-previous", 6])


def test_what_the_pipeline_reads_is_a_run_of_its_own_where_it_repeats_a_layer():
    drawn = result().table
    again = drawn[drawn["layer"] == 1].assign(native=True)
    found = score_result(Result(pd.concat([drawn, again], ignore_index=True), {}), "similarity")
    apart = found[found["run"].str.endswith(" at the native tap")]
    assert apart["native"].all() and set(apart["layer"]) == {1}
    plain = score_result(result(), "similarity")
    pd.testing.assert_frame_equal(found.drop(apart.index).reset_index(drop=True), plain)


def test_slots_that_differ_are_runs_of_their_own():
    both = pd.concat([result(slots=slots).table for slots in ("all", "cap")], ignore_index=True)
    found = score_result(Result(both, {}), "oracle")
    assert set(found["run"]) == {"emoji final slots all", "emoji final slots cap"}
    assert len(found) == 2 * len(score_result(result(slots="all"), "oracle"))


def test_own_checks_and_unknown_scorers():
    mine = [CheckedPrompt("x", "a red fox", (Check("cat", "object", "Is there a cat?", subject="cat"),))]
    found = score_result(result(), OracleScorer(), mine)
    assert not found[found["check"] == "cat"]["label"].any()
    with pytest.raises(ScorerError, match="no scorer 'orcle'"):
        score_result(result(), "orcle")


def test_images_of_another_model_are_outside_the_oracles_domain():
    found = score_result(result(model="made/model"), "oracle")
    assert found["label"].isna().all()
