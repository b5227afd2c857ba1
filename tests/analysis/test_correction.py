import numpy as np
import pandas as pd
import pytest

from diffusion_lens.analysis import correction
from diffusion_lens.analysis.correction import METHODS, corrected_areas, corrected_curves
from diffusion_lens.analysis.curves import curves
from diffusion_lens.analysis.statistics import jackknife, totals
from diffusion_lens.errors import ScoresError
from tests.analysis.simulate import FAST, as_table, images

NA = np.nan
TRUTH = np.array([0.15, 0.4, 0.7])
# a judge that sees things in the odd images of early layers
SENSITIVITY, FALSE_YES = np.array([0.8, 0.85, 0.95]), np.array([0.35, 0.2, 0.05])


def study(
    rng: np.random.Generator, prompts: int = 200, share: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """A judge's answers, and people's on a random part."""
    truth = images(rng, TRUTH, prompts=prompts)
    judge = (rng.random(truth.shape) < np.where(truth == 1, SENSITIVITY, FALSE_YES)).astype(float)
    return judge, np.where(rng.random(truth.shape) < share, truth, NA)


def columns(judge: np.ndarray, human: np.ndarray) -> np.ndarray:
    known = np.isfinite(human)
    true = np.where(known, human, 0)
    blocks = (known * 1.0, true, judge * known, judge * true)
    counts = [block.sum(axis=1) for block in blocks]
    # each prompt counts once
    once = [count / judge.shape[1] for count in counts]
    return np.concatenate([totals(judge.mean(axis=1)), *counts, *once], axis=1)


def tables(judge: np.ndarray, human: np.ndarray) -> pd.DataFrame:
    both = [as_table(judge, scorer="vqa"), as_table(human, scorer="human")]
    return pd.concat(both, ignore_index=True)


def test_corrected_intervals_cover_and_raw_ones_do_not():
    hits = np.zeros((3, 3))
    studies = 300
    for number in range(studies):
        result = jackknife(
            columns(*study(np.random.default_rng((21, number)))),
            lambda sums: correction._corrected(sums, 3, "layer").reshape(len(sums), -1),
        )
        low, high = (end.reshape(3, 3) for end in result.shares(0.95))
        hits += (low <= TRUTH) & (high >= TRUTH)
    share = hits / studies
    assert np.all((share[1:] > 0.91) & (share[1:] < 0.99)), share
    assert share[0, 0] < 0.05


def test_the_table_gives_the_same_as_the_arrays():
    judge, human = study(np.random.default_rng(5), prompts=40)
    frame = corrected_curves(tables(judge, human), "vqa", resampling=FAST)
    expected = correction._corrected(columns(judge, human).sum(axis=0)[None], 3, "layer")[0]
    for index, method in enumerate(METHODS):
        found = frame[frame["method"] == method]
        assert found["rate"].to_numpy() == pytest.approx(expected[index])
        assert found["labelled"].tolist() == np.isfinite(human).sum(axis=(0, 1)).tolist()


def test_rogan_gladen_by_hand():
    # ten images of ten prompts; the judge says yes to 6. All are labelled: 4 of 5 right ones found
    judge = np.array([1, 1, 1, 1, 0, 1, 1, 0, 0, 0], dtype=float)[:, None, None]
    human = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], dtype=float)[:, None, None]
    frame = corrected_curves(tables(judge, human), "vqa", resampling=FAST).set_index("method")
    assert frame.loc["raw", "rate"] == 0.6
    assert frame.loc["raw", "sensitivity"] == 0.8 and frame.loc["raw", "specificity"] == 0.6
    assert frame.loc["rogan_gladen", "rate"] == pytest.approx((0.6 + 0.6 - 1) / (0.8 + 0.6 - 1))
    assert frame.loc["prediction_powered", "rate"] == pytest.approx(0.5)


def test_with_everything_labelled_both_corrections_give_the_truth():
    rng = np.random.default_rng(1)
    judge, human = study(rng, prompts=300, share=1)
    frame = corrected_curves(tables(judge, human), "vqa", resampling=FAST)
    for method in METHODS[1:]:
        assert frame[frame["method"] == method]["rate"].to_numpy() == pytest.approx(human.mean(axis=(0, 1)))


def test_a_judge_of_no_use_is_said_to_be_so():
    judge, human = study(np.random.default_rng(2), prompts=30)
    frame = corrected_curves(tables(1 - judge, human), "vqa", resampling=FAST)
    rogan = frame[frame["method"] == "rogan_gladen"]
    assert rogan["rate"].isna().all() and rogan["note"].str.contains("no better than chance").all()
    powered = frame[frame["method"] == "prediction_powered"]
    assert powered["rate"].notna().all()


def test_pooled_errors_are_the_same_at_all_layers():
    judge, human = study(np.random.default_rng(3), prompts=60)
    frame = corrected_curves(tables(judge, human), "vqa", strata="pooled", resampling=FAST)
    assert frame["sensitivity"].nunique() == 1


def test_areas_stand_side_by_side():
    judge, human = study(np.random.default_rng(4), prompts=200)
    frame = corrected_areas(tables(judge, human), "vqa", resampling=FAST).set_index("method")
    truth = np.trapezoid(TRUTH, [0, 0.5, 1])
    assert frame.loc["raw", "low"] > truth
    for method in METHODS[1:]:
        assert frame.loc[method, "low"] < truth < frame.loc[method, "high"]


def test_a_sample_that_is_all_wrong_is_not_certain():
    judge, human = study(np.random.default_rng(8), prompts=40)
    human[..., 0] = np.where(human[..., 0] == 1, NA, human[..., 0])
    frame = corrected_curves(tables(judge, human), "vqa", resampling=FAST)
    powered = frame[(frame["layer"] == 0) & (frame["method"] == "prediction_powered")].iloc[0]
    prompts = int((human[..., 0] == 0).any(axis=1).sum())
    assert powered["rate"] == 0 and powered["prompts"] == prompts
    assert 1 / prompts < powered["high"] < 6 / prompts


def test_layers_without_labels_are_said():
    judge, human = study(np.random.default_rng(6), prompts=30)
    human[..., 0] = NA
    frame = corrected_curves(tables(judge, human), "vqa", resampling=FAST)
    first = frame[(frame["layer"] == 0) & (frame["method"] != "raw")]
    assert first["rate"].isna().all() and set(first["note"]) == {"nothing labelled at this layer"}
    with pytest.raises(ScoresError, match=r"no answers of \['clip'\]"):
        corrected_curves(tables(judge, human), "clip")
    with pytest.raises(ScoresError, match="never answered"):
        corrected_curves(tables(judge, human * NA), "vqa")


def test_prompts_of_many_checks_do_not_draw_the_corrected_rate_to_themselves():
    """With all labelled, the rate corrected is that of people, in which each prompt counts once."""
    rng = np.random.default_rng(0)
    made = [as_table(images(rng, np.array([0.9, 0.9]), prompts=20), check="object-0")]
    for number in range(3):
        hard = as_table(images(rng, np.array([0.2, 0.4]), prompts=20), check=f"object-{number}")
        made.append(hard.assign(prompt_id="hard " + hard["prompt_id"]))
    people = pd.concat(made, ignore_index=True).assign(scorer="human")
    errs = rng.random(len(people)) < 0.25
    judge = people.assign(scorer="vqa", label=people["label"] ^ errs)
    both = pd.concat([people, judge], ignore_index=True)
    found = corrected_curves(both, "vqa", resampling=FAST).set_index(["method", "layer"])["rate"]
    truth = curves(people, ["scorer"], resampling=FAST)["rate"]
    assert found["prediction_powered"].tolist() == pytest.approx(truth.tolist())
