import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from diffusion_lens.analysis.confidence import difference_interval, difference_p, share_interval
from diffusion_lens.analysis.significance import (
    benjamini_hochberg,
    holm,
    sign_flip_test,
    smallest_difference,
)
from diffusion_lens.analysis.statistics import Resampling, jackknife, mean_interval, of_means, rates, totals
from diffusion_lens.errors import InputError


def test_wilsons_interval_of_independent_answers_but_for_the_t_quantile():
    """Scipy's Wilson interval; ours is of fewer effective answers, as t is wider than normal."""
    count, right = 400, 140
    share = right / count
    low, high = share_interval(share, share * (1 - share) / count, count)
    theirs = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.002)
    assert float(low) < theirs.low and float(high) > theirs.high


@given(
    st.floats(0.01, 0.99),
    st.integers(2, 60),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from([0.8, 0.95]),
)
def test_both_ends_solve_the_equation_of_the_score_test(share, prompts, design, level):
    """At an end, the distance to the share is t times the error that there would be at this end."""
    variance = design * share * (1 - share) / prompts
    t = stats.t.ppf(0.5 + level / 2, prompts - 1)
    for end in share_interval(share, variance, prompts, level):
        error = end * (1 - end) * design / prompts
        assert (share - end) ** 2 == pytest.approx(t**2 * error, rel=1e-6)


def test_clustered_answers_count_for_less():
    low, high = share_interval([0.4, 0.4], [0.001, 0.01], 30)
    assert high[1] - low[1] > 2 * (high[0] - low[0])


@pytest.mark.parametrize("share", [0.0, 1.0, 0.5])
def test_prompts_that_all_agree_are_no_certainty(share):
    low, high = share_interval(share, 0.0, [2, 12, 1000])
    width = high - low
    assert (width > 0).all() and (np.diff(width) < 0).all()
    assert ((low <= share) & (share <= high)).all()


def test_one_prompt_has_no_interval():
    result = of_means(np.array([[0.5, 1.0]]))
    assert result.estimate.tolist() == [0.5, 1.0]
    assert np.isnan(result.shares(0.95)).all() and np.isnan(result.normal(0.95)).all()


def test_a_difference_of_independent_shares_is_newcombes():
    """The worked example of Newcombe (1998), method 10: 56/70 less 48/80 is 0.20 [0.0524, 0.3339]."""
    ends = [stats.binomtest(*one).proportion_ci(method="wilson") for one in ((56, 70), (48, 80))]
    low, high = difference_interval((56 / 70, *ends[0]), (48 / 80, *ends[1]))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=0.0001)


def test_correlated_shares_have_narrower_differences():
    parts = (0.6, 0.45, 0.73), (0.5, 0.36, 0.64)
    widths = [np.diff(difference_interval(*parts, rho))[0] for rho in (-0.5, 0.0, 0.8)]
    assert widths[0] > widths[1] > widths[2] > 0


@given(
    arrays.arrays(float, st.tuples(st.integers(2, 12), st.integers(1, 5)), elements=st.floats(0, 1)),
    st.integers(0, 3),
)
def test_means_ignore_what_is_missing_and_are_inside_their_intervals(values, drop):
    values = values.copy()
    values[: drop % len(values), 0] = np.nan
    result = of_means(values)
    assert result.estimate == pytest.approx(np.nanmean(values, axis=0))
    assert result.counts.tolist() == np.isfinite(values).sum(axis=0).tolist()
    general = jackknife(totals(values), rates, result.counts)
    assert result.variance == pytest.approx(general.variance, abs=1e-9)
    several = result.counts > 1
    low, high = (end[several] for end in result.shares(0.95))
    assert (low >= 0).all() and (high <= 1).all() and (high - low > 1e-6).all()
    inside = result.estimate[several]
    assert (low <= inside + 1e-12).all() and (inside <= high + 1e-12).all()


def test_the_jackknife_of_a_mean_is_its_sample_variance():
    values = np.random.default_rng(0).beta(2, 5, (20, 2))
    result = of_means(values)
    assert result.variance == pytest.approx(values.var(axis=0, ddof=1) / 20)
    assert result.pseudo_values == pytest.approx(values)
    by_hand = stats.t.interval(0.95, 19, values[:, 0].mean(), stats.sem(values[:, 0]))
    assert mean_interval(values[:, 0]) == pytest.approx((values[:, 0].mean(), *by_hand))


def test_two_prompts_have_a_t_interval_and_its_p():
    result = of_means(np.array([[0.2], [0.5]]))
    theirs = stats.ttest_1samp([0.2, 0.5], 0)
    assert np.ravel(result.normal(0.9)) == pytest.approx(theirs.confidence_interval(0.9))
    assert result.normal_p() == pytest.approx(theirs.pvalue)


def test_a_column_without_any_value_has_no_mean():
    result = of_means(np.array([[0.5, np.nan], [0.25, np.nan]]))
    assert np.isnan(result.estimate[1]) and np.isnan(result.shares(0.95)[0][1])


def test_a_band_is_wider_than_its_intervals_and_the_same_for_the_same_seed():
    means = np.random.default_rng(4).random((50, 20))
    level = of_means(means).simultaneous_level(Resampling())
    # of 20 independent layers the level is that of Sidak
    assert level == pytest.approx(0.95 ** (1 / 20), abs=0.001)
    assert level == of_means(means).simultaneous_level(Resampling())
    alike = of_means(np.repeat(means[:, :1], 20, axis=1)).simultaneous_level(Resampling())
    assert alike == pytest.approx(0.95, abs=0.005)


def test_levels_and_resamples_are_checked():
    with pytest.raises(InputError, match="between 0 and 1"):
        Resampling(level=95.0)
    with pytest.raises(InputError, match="at least 100"):
        Resampling(resamples=3)


def test_the_smallest_difference_is_found_four_times_in_five():
    width = 2 * stats.t.ppf(0.975, 24) * 0.1
    least = smallest_difference(width, 24)
    # the error times the quantiles of level and power
    assert least == pytest.approx(0.1 * (stats.t.ppf(0.975, 24) + stats.t.ppf(0.8, 24)))
    rng = np.random.default_rng(0)
    draws = rng.normal(least, 0.5, (4000, 25))
    found = stats.ttest_1samp(draws, 0, axis=1).pvalue <= 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.03)


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
    assert sign_flip_test(differences, Resampling(resamples=20_000)) == pytest.approx(theirs, abs=0.01)


def sides(*answers: tuple[float, int]) -> list[tuple[float, float, int]]:
    """Shares of independent answers, with their variance and number."""
    return [(share, share * (1 - share) / (count - 1), count) for share, count in answers]


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(2, 80),
    st.integers(2, 80),
    st.floats(-0.9, 0.9),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_a_difference_and_its_p_never_disagree(first, second, n, m, correlation, level):
    parts = sides((first, n), (second, m))
    low, high = difference_interval(*((one[0], *share_interval(*one, level)) for one in parts), correlation)
    p = difference_p(*parts, correlation, level)
    assert (p <= 1 - level) == (low > 0 or high < 0)


def test_p_of_a_difference_is_that_of_the_score_test_in_large_samples():
    p = difference_p(*sides((0.53, 4000), (0.5, 4000)))
    theirs = stats.chi2_contingency([[2120, 1880], [2000, 2000]], correction=False).pvalue
    assert p == pytest.approx(theirs, abs=0.001)


def test_p_near_one_is_as_unsure_as_the_interval():
    """All of 48 prompts right, against 0.92 of 48: zero is inside of the interval."""
    parts = (1.0, 0.0, 48), (0.9167, 0.0008, 48)
    low, _ = difference_interval(*((one[0], *share_interval(*one)) for one in parts))
    assert low < 0 and 0.05 < difference_p(*parts) < 0.1


def test_p_of_nothing():
    assert np.isnan(difference_p((0.5, 0.0, 1), (0.4, 0.01, 9)))
    assert np.isnan(difference_p((np.nan, 0.0, 9), (0.4, 0.01, 9)))
    assert difference_p((0.4, 0.01, 9), (0.4, 0.02, 9)) == 1


def test_p_is_never_zero():
    assert 0 < sign_flip_test(np.arange(1.0, 60)) < 0.001
    assert difference_p((1.0, 0.0, 900), (0.0, 0.0, 900)) == pytest.approx(1e-6, rel=1e-3)


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
