import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from diffusion_lens.analysis.confidence import difference_interval
from diffusion_lens.analysis.curves import curves, on_enough_prompts, published_curves
from diffusion_lens.analysis.emergence import (
    distribution,
    flickers,
    half_of_final,
    half_of_final_interval,
    intervals,
    times,
    turnbull,
    was_right_before,
)
from diffusion_lens.analysis.stacking import stack
from diffusion_lens.analysis.statistics import of_means
from diffusion_lens.analysis.summary import area, measures, summary
from diffusion_lens.analysis.trajectories import gather, gathered, missing
from diffusion_lens.errors import ScoresError
from tests.analysis.simulate import FAST, RISING, as_table, images

NA = np.nan
THREE = np.linspace(0, 1, 3)


def small() -> pd.DataFrame:
    """Two prompts of two seeds at three layers, with one missing cell."""
    return as_table(np.array([[[0, 1, 1], [0, 0, 1]], [[1, NA, 0], [0, 0, 0]]]), reason=None)


def test_a_rate_is_the_mean_over_prompts_of_each_prompts_mean():
    # p0: 0, 1/2, 1; p1: 1/2, 0 (one cell), 0
    frame = curves(small())
    assert frame["rate"].tolist() == [0.25, 0.25, 0.5]
    assert frame["cells"].tolist() == [4, 3, 4] and frame["missing"].tolist() == [0, 1, 0]
    assert set(frame["note"]) == {"2 prompts: intervals are rough"}
    assert frame["depth"].tolist() == [0, 0.5, 1]


def test_a_curve_given_the_final_image_is_right_ends_at_one():
    frame = curves(small(), condition="final-correct")
    assert frame["rate"].tolist() == [0, 0.5, 1] and set(frame["prompts"]) == {1}
    assert set(frame["condition"]) == {"final-correct"}
    failures = curves(small(), condition="final-wrong")
    assert failures["rate"].tolist() == [0.5, 0, 0]


def test_given_final_correct_the_end_has_no_interval_and_the_rest_has():
    values = images(np.random.default_rng(0), RISING)
    frame = curves(as_table(values), condition="final-correct", resampling=FAST)
    # right by construction, so that there is nothing to be sure of
    assert frame["rate"].iloc[-1] == 1
    assert frame[["low", "high", "band_low", "band_high"]].iloc[-1].isna().all()
    first = frame.iloc[0]
    assert first["band_low"] < first["low"] < first["rate"] < first["high"] < first["band_high"]
    row = summary(as_table(values), condition="final-correct", resampling=FAST).iloc[0]
    assert row["final"] == 1 and row[["final_low", "final_high"]].isna().all()
    assert row["area_low"] < row["area"] < row["area_high"] and row["ratio_low"] < row["ratio"]


def test_where_all_prompts_agree_the_interval_is_no_point():
    frame = curves(as_table(np.ones((12, 2, 2)) * [0, 1]))
    assert frame["rate"].tolist() == [0, 1]
    assert frame["low"].tolist() == pytest.approx([0, 1 - frame["high"][0]])
    assert 0.2 < frame["high"][0] < 0.35 < frame["band_high"][0] + 0.2
    assert frame["band_low"][1] < frame["low"][1]


def test_scorers_and_encoders_of_unequal_depth_never_make_one_curve():
    one = small()
    two = pd.concat([one, one.assign(scorer="clip")])
    with pytest.raises(ScoresError, match=r"\['clip', 'oracle'\] can't make one curve"):
        curves(two, by=["kind"])
    deeper = one.assign(encoder="text_encoder_2", depth=one["layer"] / 24)
    with pytest.raises(ScoresError, match="unequal depth"):
        curves(pd.concat([one, deeper]), by=["scorer"])
    with pytest.raises(ScoresError, match=r"no columns \['colour'\]"):
        curves(one, by=["colour"])
    with pytest.raises(ScoresError, match="no rows"):
        gather(one[:0])


def test_curves_of_probabilities():
    frame = curves(small().assign(p=0.25), value="p")
    assert set(frame["rate"]) == {0.25}


def test_one_prompt_and_one_layer_give_numbers_without_intervals_and_say_why():
    table = as_table(np.array([[[0.0, 1.0]]]))
    frame = curves(table)
    assert (
        frame["rate"].tolist() == [0, 1] and frame["low"].isna().all() and frame["band_high"].isna().all()
    )
    assert "one prompt: no interval" in frame["note"][0]
    row = summary(table).iloc[0]
    assert row["area"] == 0.5 and np.isnan(row["area_low"])
    single = summary(as_table(images(np.random.default_rng(0), RISING[3:4]))).iloc[0]
    shallow = summary(as_table(np.ones((12, 1, 1)), depth=0.0)).iloc[0]
    assert np.isnan(shallow["half_layer"]) and shallow["note"] == "one layer: no area, no emergence"
    assert (
        np.isnan(single["area"]) and "one layer" in single["note"] and single["final_low"] < single["final"]
    )


def test_enough_prompts_are_five_on_both_sides():
    table = pd.DataFrame({"prompts": [4, 5, 9, None]})
    assert on_enough_prompts(table).tolist() == [False, True, True, False]
    # what is paired has its others in neither; of two samples they are the second
    sides = pd.DataFrame(
        {"prompts": [9, 9, 9, 4, 9], "others": [0, 4, 5, 9, None], "paired": [True] + [False] * 4}
    )
    assert on_enough_prompts(sides).tolist() == [True, False, True, False, False]


def test_nothing_that_meets_the_condition_is_said():
    table = as_table(np.zeros((3, 2, 2)))
    assert curves(table, condition="final-correct")["note"].tolist() == ["nothing is final-correct"]
    assert summary(table, condition="final-correct")["note"].tolist() == ["nothing is final-correct"]
    assert published_curves(table).empty


def test_the_published_convention_averages_shares_over_seeds():
    # seed 0: right at the end for p0, p1; seed 1: for p0 only. Shares at layer 0: 1/2 and 1.
    values = np.array([[[1, 1], [1, 1]], [[0, 1], [0, 0]]], dtype=float)
    frame = published_curves(as_table(values))
    assert frame["rate"].tolist() == [0.75, 1]
    sd = np.std([0.5, 1], ddof=1)
    assert frame["sd"].tolist() == pytest.approx([sd, 0])
    assert frame["low"].tolist() == pytest.approx([0.75 - sd, 1])
    assert frame["high"].tolist() == pytest.approx([0.75 + sd, 1])
    assert frame["cells"].tolist() == [3, 3]


def test_area_is_the_mean_rate_over_depth():
    assert area(np.array([[0, 0, 1], [1, 1, 1.0]]), THREE).tolist() == [0.25, 1]
    # layers from the middle on: only the depth covered counts
    assert area(np.array([[0.5, 0.5]]), np.array([0.5, 1.0])).tolist() == [0.5]


def test_half_of_final_interpolates_on_a_rising_fit():
    curve = np.array([[0, 0.2, 0.8], [0.6, 0.2, 0.8], [0, 0, 0], [0.8, 0.8, 0.8], [0, NA, 1]])
    found = half_of_final(curve, THREE)
    # second: the fit is 0.4, 0.4, 0.8, and half of 0.8 is there from the start
    assert found.tolist() == pytest.approx([0.5 + 0.5 * 0.2 / 0.6, 0, NA, 0, NA], nan_ok=True)


@pytest.mark.parametrize(
    ("rates", "within"),
    [
        # of nothing, of little and of much at the layers that come first
        ([0.0, 0.0, 0.3, 0.5, 0.9], (0.4, 0.9)),
        ([0.2, 0.3, 0.7, 0.8, 0.9], (0.0, 0.6)),
        ([0.1, 0.6, 0.2, 0.7, 0.9], (0.0, 0.8)),
        # with a final rate of which little is known, any depth may be that of the half
        ([0.1, 0.1, 0.1, 0.1, 0.2], (0.0, 1.0)),
    ],
)
def test_the_half_lies_where_half_of_the_final_rate_is_not_excluded(rates, within):
    """Against the definition, at a thousand depths; ends of intervals are straight between layers."""
    depths, prompts = np.linspace(0, 1, 5), 20
    means = (np.arange(prompts)[:, None] < np.array(rates) * prompts).astype(float)
    result = of_means(means)
    start, end = half_of_final_interval(result, depths, 0.9)
    low, high = result.shares(0.9)
    final = (result.estimate[-1] / 2, low[-1] / 2, high[-1] / 2)
    ends = [
        difference_interval((result.estimate[at], low[at], high[at]), final, result.correlation(at, 4))
        for at in range(5)
    ]
    # the last one is the half itself
    ends[-1] = (max(ends[-1][0], final[1]), ends[-1][1])
    grid = np.linspace(0, 1, 1001)
    least, most = (np.interp(grid, depths, [float(one[side]) for one in ends]) for side in (0, 1))
    allowed = grid[(least <= 0) & (most >= 0)]
    assert (start, end) == pytest.approx((allowed[0], allowed[-1]), abs=0.0011)
    half = half_of_final(result.estimate[None], depths)[0]
    assert within[0] <= start <= half < end <= within[1]


def test_a_half_that_is_there_at_once_comes_no_later_than_the_second_layer():
    result = of_means(np.ones((20, 3)))
    assert half_of_final_interval(result, THREE, 0.95) == (0, 0.5)
    never = of_means(np.zeros((20, 3)))
    assert np.isnan(half_of_final_interval(never, THREE, 0.95)).all()


def test_the_ratio_takes_the_final_rate_out():
    one, half = measures(np.array([RISING, RISING / 2]), np.linspace(0, 1, 6))
    assert one[2] == pytest.approx(half[2])
    assert one[0] == pytest.approx(2 * half[0])
    # curves of unequal layers are compared at those that all have
    assert measures(np.array([[0, 0.9, 0.5], [0, NA, 1]]), THREE).tolist() == [
        [0.25, 0.5, 0.5],
        [0.5, 1, 0.5],
    ]


LINES = st.integers(1, 6).flatmap(
    lambda layers: arrays.arrays(
        float, st.tuples(st.integers(1, 8), st.just(layers)), elements=st.sampled_from([0.0, 1.0, NA])
    )
)


@given(LINES)
def test_emergence_lies_where_the_answers_allow(values):
    """Against the definition, one trajectory at a time."""
    after, by = intervals(values)
    for line, start, end in zip(values, after, by, strict=True):
        wrong = np.flatnonzero(line == 0)
        assert start == (wrong[-1] if len(wrong) else -1)
        right = [at for at in np.flatnonzero(line == 1) if at > start]
        assert end == (right[0] if right else len(line))


@given(LINES)
def test_flickers_count_returns(values):
    for line, count in zip(values, flickers(values), strict=True):
        word = "".join("x" if cell == 1 else " " for cell in line if not np.isnan(cell))
        assert count == max(len(word.split()) - 1, 0)


def test_failures_that_were_right():
    values = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, NA], [NA, 1, 0]])
    assert was_right_before(values).tolist() == pytest.approx([1, 0, NA, NA, 1], nan_ok=True)


def test_times_of_single_trajectories():
    values = np.array(
        [
            [
                [0, 1, 0, 1],
                [1, 1, 1, 1],
                [0, 0, 0, 0],
                [0, NA, 1, 1],
                [0, 1, 1, NA],
                [1, 0, NA, NA],
                [0, 0, 0, NA],
            ]
        ]
    )
    frame = times(as_table(values, np.array([0, 4, 8, 12]))).set_index("seed")
    assert frame["first_right"].tolist() == [4, 0, pd.NA, 8, 4, 0, pd.NA]
    assert frame["after"].tolist() == [8, pd.NA, 12, 0, 0, 4, 8]
    assert frame["by"].tolist() == [12, 0, pd.NA, 8, 4, pd.NA, pd.NA]
    emerged = ["emerged", "emerged", "never", "emerged", "emerged", "unknown", "unknown"]
    assert frame["outcome"].tolist() == emerged
    assert frame["flickers"].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert frame["right_before"].tolist() == [pd.NA, pd.NA, False, pd.NA, pd.NA, pd.NA, pd.NA]


def test_the_share_emerged_is_the_plain_share_without_missing_answers():
    values = images(np.random.default_rng(2), RISING, prompts=30)
    frame = distribution(as_table(values), resampling=FAST)
    stays = np.flip(np.cumprod(np.flip(values, axis=2), axis=2), axis=2).mean(axis=(0, 1))
    assert frame["emerged"].tolist() == pytest.approx(stays.tolist(), abs=1e-6)
    assert frame["never"][0] == pytest.approx(1 - values[..., -1].mean(), abs=1e-6)
    assert frame["emerged_of_ever"].iloc[-1] == pytest.approx(1)
    assert (frame["low"] <= frame["emerged"]).all() and (frame["emerged"] <= frame["high"]).all()
    row = summary(as_table(values), resampling=FAST).iloc[0]
    for name in ("never", "never_low", "never_high"):
        assert row[name] == pytest.approx(frame[name][0], abs=1e-5)


def test_the_distribution_of_one_prompt_is_what_it_shows():
    frame = distribution(
        as_table(np.array([[[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]]])), resampling=FAST
    )
    assert frame["emerged"].tolist() == pytest.approx([0, 0.25, 0.5])
    assert frame["emerged_of_ever"].tolist() == pytest.approx([0, 0.5, 1])
    assert frame["never"][0] == pytest.approx(0.5) and "one prompt" in frame["note"][0]


def test_turnbull_by_hand():
    # one seen at cell 0, one at cell 1, one that may be either: a half each
    pairs = np.array([[0, 0], [1, 1], [0, 1]])
    assert turnbull(np.array([[1.0, 1, 1]]), pairs, 2)[0] == pytest.approx([0.5, 0.5])
    # two at cell 0, one at cell 1, three unknown follow the known
    assert turnbull(np.array([[2.0, 1, 3]]), pairs, 2)[0] == pytest.approx([2 / 3, 1 / 3], abs=1e-5)


def test_answers_missing_at_random_leave_the_distribution_in_place():
    values = images(np.random.default_rng(3), RISING, prompts=3000)
    truth = np.flip(np.cumprod(np.flip(values, axis=2), axis=2), axis=2).mean(axis=(0, 1))
    # whole trajectories turn steady, so that what is missing can be told from what is known
    steady = np.flip(np.cumprod(np.flip(values, axis=2), axis=2), axis=2)
    steady[np.random.default_rng(4).random(steady.shape) < 0.3] = NA
    frame = distribution(as_table(steady), resampling=FAST)
    assert frame["emerged"].to_numpy() == pytest.approx(truth, abs=0.02)
    assert distribution(as_table(np.full((2, 1, 2), NA)))["note"].tolist() == ["no answers"]


def test_the_summary_says_what_its_numbers_rest_on():
    values = images(np.random.default_rng(2), RISING, prompts=30)
    table = as_table(values, np.array([3, 7, 11, 15, 19, 22]))
    table["depth"] = table["layer"] / 23
    row = summary(table, resampling=FAST).iloc[0]
    assert row["area"] == pytest.approx(
        area(values.mean(axis=(0, 1))[None], np.array([3, 7, 11, 15, 19, 22]) / 23)[0]
    )
    assert row["area_low"] < row["area"] < row["area_high"]
    assert row["half_layer"] == pytest.approx(23 * row["half_depth"])
    assert row["note"] == "deepest layer scored is 22, at depth 0.96"
    assert row["trajectories"] == 120 and row["prompts"] == 30
    assert row["flicker"] == pytest.approx((flickers(values.reshape(-1, 6)) > 0).mean())


def test_what_is_missing_is_said_by_reason():
    table = small()
    table.loc[table["label"].isna(), "reason"] = "blocked"
    table = table.drop(index=table[(table["prompt_id"] == "p00000") & (table["layer"] == 2)].index[0])
    frame = missing(table)
    assert frame[["layer", "reason", "missing", "expected"]].to_numpy().tolist() == [
        [1, "blocked", 1, 4],
        [2, "no row", 1, 4],
    ]


@given(st.permutations(range(12)))
def test_the_order_of_rows_does_not_matter(order):
    table = small()
    pd.testing.assert_frame_equal(
        curves(table.iloc[list(order)], resampling=FAST), curves(table, resampling=FAST)
    )


def test_tables_of_what_is_gathered_once_are_those_of_the_scores():
    table = small()
    by = ("run", "scorer", "encoder", "kind")
    once = gathered(table, by)
    pd.testing.assert_frame_equal(curves(once, by), curves(table, by))
    pd.testing.assert_frame_equal(summary(once, by), summary(table, by))
    pd.testing.assert_frame_equal(published_curves(once, by), published_curves(table, by))
    pd.testing.assert_frame_equal(distribution(once, by), distribution(table, by))
    with pytest.raises(ScoresError, match="Give the table itself"):
        curves(once, ("run",))


def test_parts_of_tables_are_stacked():
    parts = [{"run": "a", "layer": (0, 1), "rate": np.array([0.5, 1.0])}, {"run": "longer", "note": "none"}]
    found = stack(parts, ["run", "layer", "rate", "note"])
    assert found["run"].tolist() == ["a", "a", "longer"]
    assert found["layer"].tolist()[:2] == [0, 1] and found.loc[2, ["layer", "rate"]].isna().all()
    assert found["note"].isna().tolist() == [True, True, False]
    assert stack([], ["run"]).columns.tolist() == ["run"]


def test_seeds_of_the_published_curves_are_those_of_a_batch_where_each_prompt_has_its_own():
    shared = as_table(images(np.random.default_rng(0), RISING, prompts=12))
    own = shared.assign(seed=shared["seed"] + 100 * shared["prompt_id"].str[1:].astype(int))
    by = ["run", "scorer", "encoder", "category", "check"]
    pd.testing.assert_frame_equal(published_curves(own, by), published_curves(shared, by))
