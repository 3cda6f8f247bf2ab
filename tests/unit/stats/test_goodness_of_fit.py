from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from probes.stats.goodness_of_fit import (
    ALPHA,
    goodness_of_fit,
    p_value_of_fewer,
    poisson_binomial_cdf,
    smallest_shift,
)

EVEN = [0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize("p", [0.005, 0.05, 0.5, 0.995])
@pytest.mark.parametrize("alpha", [1e-3, 1e-6, ALPHA])
def test_false_alarm_rate_of_two_bins(p: float, alpha: float) -> None:
    """Exact: the sum over all counts that raise one."""
    draws = 20_000
    counts = np.arange(draws + 1)
    expected = np.array([draws * p, draws * (1 - p)])
    observed = np.stack([counts, draws - counts], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        g = 2 * np.where(observed > 0, observed * np.log(observed / expected), 0).sum(axis=1)
    alarm = stats.chi2.sf(g, 1) < alpha
    rate = stats.binom.pmf(counts, draws, p)[alarm].sum()
    assert alpha / 1.3 < rate < alpha * 1.3


def test_smallest_shift_is_detected_as_often_as_stated() -> None:
    generator = np.random.default_rng(1)
    shift = smallest_shift(20_000 * np.array(EVEN), ALPHA)
    moved = np.array(EVEN)
    moved[1:] += shift * moved[1:] / moved[1:].sum()
    moved[0] -= shift
    caught = sum(
        not goodness_of_fit(generator.multinomial(20_000, moved), EVEN).good for _ in range(1_000)
    )
    assert caught / 1_000 == pytest.approx(0.99, abs=0.02)


@pytest.mark.parametrize(
    ("expected", "starts"),
    [
        ([9_900.0, 100.0], [0, 1]),
        ([100.0] * 128, [*range(128)]),
        ([12_000.0, 7_920.0, 80.0], [0, 1]),
        ([12_000.0, 7_000.0, 920.0, 80.0], [0, 1, 2]),
        # Twenty-four of them are the first to expect a twentieth of all draws.
        ([10_000.0, 7_984.0, *[42.0] * 48], [0, 1, 2, 26]),
        # The last two expect too little, and go with those before them.
        ([10_000.0, 7_900.0, *[42.0] * 50], [0, 1, 2, 26]),
        # Fifty fall short of it by less than one draw, and what is left at the end is enough.
        ([20_000 / 1001] * 1001, [*range(0, 1001, 51)]),
    ],
)
def test_bins_pool_rare_outcomes_in_order(expected: list[float], starts: list[int]) -> None:
    means = np.array(expected)
    counts = np.random.default_rng(0).multinomial(round(means.sum()), means / means.sum())
    found, wanted = (np.add.reduceat(each, starts) for each in (counts, means))
    statistic = 2 * float((found * np.log(found / wanted)).sum())
    rare_first = np.argsort(means, kind="stable")
    for order in (np.arange(len(means)), rare_first):
        fit = goodness_of_fit(counts[order], (means / means.sum())[order])
        assert fit.bins == len(starts)
        assert fit.statistic == pytest.approx(statistic)
        assert fit.p_value == pytest.approx(stats.chi2.sf(statistic, len(starts) - 1))


def test_one_impossible_draw_fails() -> None:
    fit = goodness_of_fit([10_000, 10_000, 1], [0.5, 0.5, 0.0])
    assert fit.outside == 1
    assert not fit.good


def test_one_bin_never_fails() -> None:
    for fit in (goodness_of_fit([20_000, 0], [1.0, 0.0]), goodness_of_fit([20, 30], [0.4, 0.6])):
        assert fit.good
        assert (fit.bins, fit.statistic, fit.p_value) == (1, 0.0, 1.0)
        assert fit.smallest_shift == math.inf


def test_mismatched_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1,\) counts for \(2,\) probabilities"):
        goodness_of_fit([1], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"probabilities sum to 0\.6, not to 1"):
        goodness_of_fit([1, 1], [0.3, 0.3])


@pytest.mark.parametrize("chances", [[], [0.3], [0.0, 1.0], [0.1, 0.5, 0.5, 0.99]])
def test_poisson_binomial_cdf_sums_over_all_outcomes(chances: list[float]) -> None:
    for most in range(len(chances) + 1):
        expected = sum(
            math.prod(p if hit else 1 - p for p, hit in zip(chances, hits, strict=True))
            for hits in itertools.product([False, True], repeat=len(chances))
            if sum(hits) <= most
        )
        assert poisson_binomial_cdf(most, chances) == pytest.approx(expected)


def test_so_few_successes_are_nowhere_likelier_than_their_p_value() -> None:
    random = np.random.default_rng(3)
    for shape in np.linspace(0.1, 3, 50):
        chances = random.beta(shape, 1.0, size=20)
        least = float(random.uniform(0, chances.mean()))
        for few in range(21):
            found = p_value_of_fewer(few, 20, least)
            assert poisson_binomial_cdf(few, chances.tolist()) <= found + 1e-12
    assert p_value_of_fewer(3, 20, 0.5) == pytest.approx(1351 / 2**20)
