import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from diffusion_lens.analysis.multiplicity import benjamini_hochberg, holm
from diffusion_lens.analysis.statistics import bootstrap, permutation_test, rates, sign_flip_test, totals


def test_intervals_agree_with_scipy_but_for_the_widening():
    """Scipy's BCa on the same prompts; ours is as much wider as t is than normal."""
    values = np.random.default_rng(0).beta(2, 5, 400)
    ours = bootstrap(totals(values[:, None]), resamples=20_000, seed=1).interval()
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(ours[0][0] - theirs.low) < 0.03 * width and abs(ours[1][0] - theirs.high) < 0.03 * width


def test_few_prompts_have_wider_intervals():
    values = np.random.default_rng(0).normal(0, 1, 8)
    result = bootstrap(totals(values[:, None]), resamples=20_000)
    low, high = result.interval()
    by_hand = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
    assert high[0] - low[0] == pytest.approx(by_hand[1] - by_hand[0], rel=0.15)
    assert result.standard_error()[0] == pytest.approx(stats.sem(values), rel=0.03)
    assert result.pseudo_values()[:, 0] == pytest.approx(values)


def test_one_prompt_has_no_interval():
    result = bootstrap(totals(np.array([[0.5, 1.0]])))
    assert result.estimate.tolist() == [0.5, 1.0]
    for ends in (result.interval(), result.band()):
        assert np.isnan(ends).all()


def test_a_band_is_wider_than_its_intervals_and_holds_them():
    means = np.random.default_rng(4).normal(0, 1, (50, 20))
    result = bootstrap(totals(means))
    low, high = result.interval()
    band_low, band_high = result.band()
    assert ((band_high - band_low) > (high - low)).all()


@given(
    arrays.arrays(float, st.tuples(st.integers(2, 12), st.integers(1, 5)), elements=st.floats(0, 1)),
    st.integers(0, 3),
)
def test_means_ignore_what_is_missing(values, drop):
    values = values.copy()
    values[: drop % len(values), 0] = np.nan
    result = bootstrap(totals(values), resamples=50)
    assert result.estimate == pytest.approx(np.nanmean(values, axis=0))
    low, high = result.interval()
    assert (low <= high + 1e-12).all()
    assert (low >= -1e-12).all() and (high <= 1 + 1e-12).all()


def test_a_column_without_any_value_has_no_mean():
    values = np.array([[0.5, np.nan], [0.25, np.nan]])
    result = bootstrap(totals(values))
    assert np.isnan(result.estimate[1]) and np.isnan(result.interval()[0][1])


def test_sparse_answers_leave_some_resamples_undefined_and_no_more():
    values = np.full((6, 4), np.nan)
    values[0, 0] = values[1, 1] = 1.0
    values[[2, 3, 4], 2] = [0.0, 1.0, 0.5]
    result = bootstrap(totals(values), resamples=300)
    low, high = result.band(shares=True)
    assert np.isnan([low[3], high[3]]).all() and low[2] < 0.5 < high[2]
    assert result.standard_error().shape == (4,)
    for ends in (result.interval(), result.band()):
        assert np.isfinite(ends[0][2]) and np.isnan(ends[0][3])


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random((30, 3))
    first, second = (bootstrap(totals(values), resamples=300, seed=7).interval() for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, bootstrap(totals(values), resamples=300, seed=8).interval())


def test_sign_flips_of_few_prompts_are_exact():
    # all eight patterns: |sum| >= 6 for +++ and --- only
    assert sign_flip_test(np.array([1.0, 2.0, 3.0])) == 2 / 8
    assert sign_flip_test(np.array([1.0, -1.0])) == 1
    assert sign_flip_test(np.zeros(40)) == 1
    assert np.isnan(sign_flip_test(np.array([1.0, np.nan])))


def test_sign_flips_of_many_prompts_agree_with_scipy():
    differences = np.random.default_rng(1).normal(0.3, 1, 40)
    theirs = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).pvalue
    assert sign_flip_test(differences, resamples=20_000) == pytest.approx(theirs, abs=0.01)


def test_permutations_agree_with_scipy():
    rng = np.random.default_rng(5)
    first, second = rng.normal(0.6, 2, 20), rng.normal(0, 1, 35)

    def welch(a, b, axis):
        return stats.ttest_ind(a, b, axis=axis, equal_var=False).statistic

    theirs = stats.permutation_test(
        (first, second), welch, n_resamples=9999, vectorized=True, rng=np.random.default_rng(0)
    ).pvalue
    assert permutation_test(first, second) == pytest.approx(theirs, abs=0.02)
    assert np.isnan(permutation_test(first, second[:1]))


def test_p_is_never_zero():
    assert 0 < sign_flip_test(np.arange(1.0, 60)) < 0.001
    assert 0 < permutation_test(np.arange(30.0), np.arange(30.0) + 900) < 0.001


@pytest.mark.parametrize("tests", [1, 2, 5, 40])
def test_adjusted_p_values_agree_with_statsmodels(tests):
    p = np.random.default_rng(tests).random(tests) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])


def test_missing_p_values_do_not_count():
    p = np.array([0.01, np.nan, 0.04])
    assert holm(p) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert benjamini_hochberg(p) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()


def test_rates_are_totals_divided():
    values = np.array([[1.0, np.nan], [0.0, 0.5]])
    assert rates(totals(values).sum(axis=0)[None])[0] == pytest.approx([0.5, 0.5])
