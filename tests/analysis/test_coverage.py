"""Do 95 % intervals hold the truth 95 % of the time, where prompts and not images are independent?

At 1,200 simulated studies the share of hits has a standard error of 0.6 %, so that 93 to 97 % is three of
them; a method that is honest passes, and one that forgets the clusters fails by far.
"""

from collections.abc import Callable

import numpy as np
import pytest

from diffusion_lens.analysis.emergence import half_of_final
from diffusion_lens.analysis.statistics import (
    Bootstrap,
    bootstrap,
    permutation_test,
    rates,
    sign_flip_test,
    totals,
)
from diffusion_lens.analysis.summary import area, measures
from tests.analysis.simulate import RISING, images

STUDIES = 1200
DEPTHS = np.linspace(0, 1, len(RISING))


def covered(make: Callable[[np.random.Generator], Bootstrap], truth: np.ndarray) -> np.ndarray:
    """Share of studies whose interval holds the truth."""
    hits = np.zeros(truth.shape)
    for study in range(STUDIES):
        low, high = make(np.random.default_rng((11, study))).interval()
        hits += (low <= truth) & (truth <= high)
    return hits / STUDIES


def test_rates_of_each_layer_are_covered():
    share = covered(
        lambda rng: bootstrap(
            totals(images(rng, RISING).mean(axis=1)), resamples=400, seed=int(rng.integers(1e9))
        ),
        RISING,
    )
    assert np.all((share > 0.93) & (share < 0.97)), share


def test_intervals_that_forget_the_clusters_miss_the_truth():
    """The control: images taken for independent."""
    share = covered(
        lambda rng: bootstrap(
            totals(images(rng, RISING[3:4]).reshape(-1, 1)), resamples=200, seed=int(rng.integers(1e9))
        ),
        RISING[3:4],
    )
    assert share[0] < 0.88


def test_the_numbers_of_a_curve_are_covered():
    truth = measures(RISING[None], DEPTHS)[0]

    def study(rng: np.random.Generator) -> Bootstrap:
        means = images(rng, RISING, prompts=80).mean(axis=1)
        return bootstrap(
            totals(means),
            lambda sums: measures(rates(sums), DEPTHS),
            resamples=250,
            seed=int(rng.integers(1e9)),
        )

    share = covered(study, truth)
    assert np.all((share > 0.93) & (share < 0.97)), share


def test_missing_cells_do_not_spoil_coverage():
    def study(rng: np.random.Generator) -> Bootstrap:
        values = images(rng, RISING)
        values[rng.random(values.shape) < 0.4] = np.nan
        known = np.isfinite(values)
        means = np.where(
            known.any(axis=1),
            np.where(known, values, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1),
            np.nan,
        )
        return bootstrap(totals(means), resamples=400, seed=int(rng.integers(1e9)))

    share = covered(study, RISING)
    assert np.all((share > 0.93) & (share < 0.97)), share


def test_the_band_holds_the_whole_curve():
    hits = 0
    for study in range(STUDIES):
        rng = np.random.default_rng((12, study))
        means = images(rng, RISING).mean(axis=1)
        low, high = bootstrap(totals(means), resamples=400, seed=study).band(shares=True)
        hits += bool(np.all((low <= RISING) & (high >= RISING)))
    assert 0.93 < hits / STUDIES < 0.97


def test_differences_between_other_prompts_are_covered():
    lower = RISING * 0.8
    truth = np.array(area((RISING - lower)[None], DEPTHS)[0])

    def one(rng: np.random.Generator, curve: np.ndarray, prompts: int) -> Bootstrap:
        return bootstrap(
            totals(images(rng, curve, prompts=prompts).mean(axis=1)),
            lambda sums: area(rates(sums), DEPTHS),
            resamples=400,
            seed=int(rng.integers(1e9)),
        )

    share = covered(lambda rng: one(rng, RISING, 50).minus(one(rng, lower, 30)), truth)
    assert 0.93 < share < 0.97


@pytest.mark.parametrize("prompts", [9, 40])
def test_the_sign_flip_test_never_errs_more_often_than_it_says(prompts):
    """With ties, as means of four images have them, it errs less often."""
    wrong = 0
    for study in range(STUDIES):
        rng = np.random.default_rng((13, study))
        # one prompt effect for both, as for two checks of one prompt
        both = images(rng, np.full(2, 0.4), prompts=prompts, within=0.5, along=0.1).mean(axis=1)
        wrong += sign_flip_test(both[:, 0] - both[:, 1], resamples=1000, seed=study) <= 0.05
    assert wrong / STUDIES < 0.07


def test_the_sign_flip_test_errs_as_often_as_it_says_without_ties():
    wrong = 0
    for study in range(STUDIES):
        differences = np.random.default_rng((15, study)).standard_t(3, 25)
        wrong += sign_flip_test(differences, resamples=1000, seed=study) <= 0.05
    assert 0.03 < wrong / STUDIES < 0.07


def test_the_permutation_test_holds_where_two_sets_vary_unequally():
    """Sets of unequal size and spread, equal means: an unstudentised test would be wrong far too often."""
    wrong = 0
    for study in range(STUDIES):
        rng = np.random.default_rng((14, study))
        first, second = rng.normal(0, 3, 15), rng.normal(0, 1, 60)
        wrong += permutation_test(first, second, resamples=400, seed=study) <= 0.05
    assert 0.03 < wrong / STUDIES < 0.07


def test_half_of_final_is_near_the_truth_in_large_samples():
    truth = half_of_final(RISING[None], DEPTHS)[0]
    rng = np.random.default_rng(3)
    found = half_of_final(images(rng, RISING, prompts=20_000).mean(axis=(0, 1))[None], DEPTHS)[0]
    assert abs(found - truth) < 0.02
