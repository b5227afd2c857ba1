from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats import inter_rater

from diffusion_lens.analysis.agreement import (
    agreement,
    cohen,
    fleiss,
    krippendorff,
    pair_up,
    several_raters,
)
from diffusion_lens.errors import ScoresError
from tests.analysis.simulate import FAST, as_table

NA = np.nan
DATA = Path(__file__).parents[1] / "data"
# four observers of twelve units with gaps: the worked example of Krippendorff (2011), whose answers are
# 0.743 nominal, 0.815 ordinal, 0.849 interval
TEXTBOOK = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NA, NA, NA],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NA, 3],
        [NA, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NA],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NA],
    ]
).T


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_textbook(scale, alpha):
    assert krippendorff(TEXTBOOK, scale) == pytest.approx(alpha, abs=0.0005)


@pytest.mark.parametrize(("scale", "alpha"), [("ordinal", 0.6854), ("interval", 0.6844)])
def test_alpha_of_the_published_ratings(scale, alpha):
    rows = [line.split(",") for line in (DATA / "dsg_likert.csv").read_text().split()]
    ratings = np.array([[float(one) for one in row] + [NA] * (5 - len(row)) for row in rows])
    assert ratings.shape == (800, 5) and np.isfinite(ratings).sum() == 3995
    assert krippendorff(ratings, scale) == pytest.approx(alpha, abs=0.00005)


def test_alpha_at_its_ends():
    assert krippendorff(np.array([[1.0, 1], [2, 2], [3, 3]]), "ordinal") == 1
    assert krippendorff(np.array([[1.0, 2], [2, 1]])) < 0
    assert np.isnan(krippendorff(np.ones((4, 3))))
    assert np.isnan(krippendorff(np.array([[1.0, NA], [NA, 2.0]])))
    assert np.isnan(krippendorff(np.array([[1.0, 2.0], [1.0, NA]])))


def test_kappas_agree_with_statsmodels():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 200)
    second = np.where(rng.random(200) < 0.8, first, 1 - first)
    crossed = pd.crosstab(first, second).to_numpy()
    assert cohen(first.tolist(), second.tolist()) == pytest.approx(inter_rater.cohens_kappa(crossed).kappa)
    for raters in (2, 6):
        counts = rng.multinomial(raters, [0.5, 0.3, 0.2], 40)
        assert fleiss(counts) == pytest.approx(inter_rater.fleiss_kappa(counts))
    assert np.isnan(cohen([1, 1], [1, 1]))
    with pytest.raises(ScoresError, match="Krippendorff"):
        fleiss(np.array([[1, 2], [1, 1]]))


def two_scorers(truth: np.ndarray, judge: np.ndarray) -> pd.DataFrame:
    return pd.concat([as_table(truth, scorer="human"), as_table(judge, scorer="vqa")], ignore_index=True)


def test_agreement_counts_only_what_both_answered():
    truth = np.array([[[1, 1, 0, NA]], [[0, 0, 1, 1]]])
    judge = np.array([[[1, 0, 0, 1]], [[1, 0, NA, 1]]])
    table = two_scorers(truth, judge)
    assert len(pair_up(table, "human", "vqa")) == 6
    row = agreement(table, "human", "vqa", resampling=FAST).iloc[0]
    assert row["answers"] == 6 and row["prompts"] == 2
    # the pairs are 11, 10, 00 and 01, 00, 11
    assert row["agree"] == pytest.approx(4 / 6)
    assert row["kappa"] == pytest.approx(cohen([1, 1, 0, 0, 0, 1], [1, 0, 0, 1, 0, 1]))
    assert row["sensitivity"] == pytest.approx(2 / 3) and row["specificity"] == pytest.approx(2 / 3)
    by_layer = agreement(table, "human", "vqa", ["layer"], resampling=FAST)
    assert by_layer["agree"].tolist() == [0.5, 0.5, 1, 1]


def test_kappa_and_alpha_of_two_scorers_are_those_of_their_answers():
    rng = np.random.default_rng(3)
    # people say yes to most, the judge to fewer
    truth = (rng.random((30, 2, 3)) < 0.8) * 1.0
    judge = np.where(rng.random(truth.shape) < 0.3, 0, truth)
    row = agreement(two_scorers(truth, judge), "human", "vqa", resampling=FAST).iloc[0]
    said, seen = truth.ravel(), judge.ravel()
    assert row["kappa"] == pytest.approx(cohen(said.tolist(), seen.tolist()))
    assert row["alpha"] == pytest.approx(krippendorff(np.stack([said, seen], axis=1)))
    assert row["sensitivity"] == pytest.approx(seen[said == 1].mean()) and row["specificity"] == 1
    for name in ("kappa", "alpha"):
        assert -1 < row[f"{name}_low"] < row[name] < row[f"{name}_high"] < 1


def test_several_people_agree_on_what_two_of_them_answered():
    said = {
        "ann": np.array([[[1, 1, 0, 0, NA]]]),
        "bob": np.array([[[1, 0, 0, 1, 1]]]),
        "eve": np.array([[[1, 1, 0, NA, NA]]]),
    }
    parts = [as_table(values, scorer=name) for name, values in said.items()]
    # a judge is no rater
    judge = as_table(np.zeros((1, 1, 5)), scorer="vqa")
    row = several_raters(pd.concat([*parts, judge], ignore_index=True), list(said)).iloc[0]
    values = np.stack([of_one.ravel() for of_one in said.values()], axis=1)
    assert row["raters"] == "ann, bob, eve"
    assert (row["alpha"], row["units"]) == (pytest.approx(krippendorff(values)), 4)
    # three units are answered by all: 3, 2 and none of them say yes
    assert (row["fleiss"], row["fleiss_units"]) == (fleiss(np.array([[0, 3], [1, 2], [3, 0]])), 3)
    assert several_raters(pd.concat(parts, ignore_index=True), ["ann", "bob"]).empty


def test_scorers_that_never_meet_are_named():
    table = two_scorers(np.array([[[1, NA]]]), np.array([[[NA, 1]]]))
    with pytest.raises(ScoresError, match="never answered the same check"):
        agreement(table, "human", "vqa")
    with pytest.raises(
        ScoresError, match=r"no answers of \['clip'\]; there are those of \['human', 'vqa'\]"
    ):
        agreement(table, "clip", "vqa")


def test_sensitivity_rests_on_the_prompts_in_which_something_is_right():
    truth = np.zeros((40, 1, 1))
    truth[:4] = 1
    table = pd.concat([as_table(truth, scorer=name) for name in ("human", "vqa")], ignore_index=True)
    row = agreement(table, "human", "vqa", resampling=FAST).iloc[0]
    alone = agreement(table[table["label"].astype(bool)], "human", "vqa", resampling=FAST).iloc[0]
    assert row["sensitivity"] == 1 and row["sensitivity_low"] == alone["agree_low"] < 0.6
    assert row["specificity_low"] > 0.85
