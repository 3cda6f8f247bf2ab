"""Test whether draws follow a distribution: a G-test with a fixed error rate and a stated power.

One run of the suite may raise a false alarm with a probability of one in a million: `ERROR_BUDGET`
is divided equally among the tests of draws that a run makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Floats = npt.NDArray[np.float64]

ERROR_BUDGET = 1e-6  # probability that any test of draws in a run fails although all is right
TESTS_PER_RUN = 40  # how many tests share the budget: at least as many as a run on one target makes
ALPHA = ERROR_BUDGET / TESTS_PER_RUN  # the same probability for one test of draws
MIN_EXPECTED = 100.0  # least expected draws of a bin: the far tail of chi-squared needs many

DIFFERENCE_ALPHA = 1e-3
"""The p-value below which an expected difference counts as found. A correct model fails such a
claim only if the draws miss the difference: they must be enough for one of many standard errors."""

POWER = 0.99  # the probability with which `smallest_shift` is detected

LOOKS = (0.2, 0.3, 0.4, 0.5)
"""Shares of the draws after which a test stops if nothing speaks against the probabilities."""

LOST = 0.0005
"""Probability with which a look misses a shift that all draws would detect."""


@dataclass(frozen=True)
class Fit:
    """The result of a G-test of draws against probabilities.

    `smallest_shift` is the least probability moved from the most likely bin to the others, in
    proportion, that the test detects with probability `POWER`.
    """

    draws: int  # number of draws, perhaps fewer than planned
    bins: int  # number of bins after pooling
    statistic: float  # G, twice the log-likelihood ratio, in nats
    p_value: float  # probability of a G as large or larger if the draws follow the distribution
    alpha: float  # the p-value below which the test fails
    smallest_shift: float
    outside: int  # draws of outcomes whose probability is 0; one is enough to fail

    @property
    def good(self) -> bool:
        """Whether the draws are compatible with the distribution."""
        return self.outside == 0 and self.p_value >= self.alpha


def goodness_of_fit(
    counts: Sequence[int] | npt.NDArray[np.int64],
    probabilities: Sequence[float] | Floats,
    alpha: float = ALPHA,
    min_expected: float = MIN_EXPECTED,
    planned: int | None = None,
) -> Fit:
    """Test draws against probabilities.

    `planned` is the number of draws of a test that may have stopped early: its bins and its power
    are those of all. Outcomes that expect fewer draws than `min_expected` are pooled into bins that
    expect more. Raises ValueError if the two differ in length or the probabilities do not sum to 1.

    >>> [goodness_of_fit(counts, [0.5, 0.5]).good for counts in ([5020, 4980], [5500, 4500])]
    [True, False]
    """
    observed = np.asarray(counts, dtype=np.float64)
    chances = np.asarray(probabilities, dtype=np.float64)
    if observed.shape != chances.shape:
        raise ValueError(f"{observed.shape} counts for {chances.shape} probabilities")
    if abs(chances.sum() - 1) > 1e-6:
        raise ValueError(f"probabilities sum to {chances.sum()}, not to 1")
    draws = observed.sum()
    outside = int(observed[chances == 0].sum())
    observed, expected = _pool(observed, chances * (planned or draws), min_expected)
    statistic, p_value = _g_test(observed, expected)
    return Fit(
        draws=int(draws),
        bins=len(expected),
        statistic=statistic,
        p_value=p_value,
        alpha=alpha,
        smallest_shift=smallest_shift(expected, alpha),
        outside=outside,
    )


def fit_in_parts(
    draw: Callable[[int], npt.NDArray[np.int64]], probabilities: Floats, planned: int
) -> Fit:
    """Test draws that are made in parts, and make no more of them when `can_stop` allows it.

    `draw` makes so many draws and returns how often each outcome came. A part ends at each look.

    >>> dice = np.random.default_rng(0)
    >>> fit_in_parts(lambda n: dice.multinomial(n, [0.5, 0.5]), np.array([0.5, 0.5]), 4000).draws
    1600
    """
    counts = np.zeros(len(probabilities), dtype=np.int64)
    for share in (*LOOKS, 1.0):
        counts += draw(int(share * planned) - int(counts.sum()))
        if share < 1 and can_stop(counts, probabilities, planned):
            break
    return goodness_of_fit(counts, probabilities, planned=planned)


def can_stop(
    counts: npt.NDArray[np.int64], probabilities: Floats, planned: int, alpha: float = ALPHA
) -> bool:
    """Return whether a test may stop after some of its draws, and accept the probabilities.

    It may where G is so small that a shift which all `planned` draws would detect with probability
    `POWER` gives a smaller one with probability `LOST`. A test that only ever stops to accept keeps
    its error rate, and loses at most `LOST` of its power at each look.

    >>> even = np.array([0.5, 0.5])
    >>> [can_stop(np.array(counts), even, 20_000) for counts in ([2510, 2490], [2700, 2300])]
    [True, False]
    """
    draws = int(counts.sum())
    if counts[probabilities == 0].any():
        return False
    # In the bins of the whole test: a look needs no far tail, so fewer draws a bin are enough.
    observed, whole = _pool(counts.astype(np.float64), probabilities * planned, MIN_EXPECTED)
    if len(whole) < 2:
        return False
    statistic, _ = _g_test(observed, whole)
    detected = _noncentrality(len(whole) - 1, alpha, POWER) * draws / planned
    return statistic < float(stats.ncx2.ppf(LOST, len(whole) - 1, detected))


@cache
def _noncentrality(df: int, alpha: float, power: float) -> float:
    """Return the noncentrality of G at which a test with this error rate has this power."""
    critical = stats.chi2.isf(alpha, df)
    return float(optimize.brentq(lambda x: stats.ncx2.sf(critical, df, x) - power, 1e-3, 1e5))


def smallest_shift(expected: Floats, alpha: float, power: float = POWER) -> float:
    """Return the least mass moved away from the most likely bin that the test detects.

    The mass goes to the other bins in proportion to theirs; it is infinite where there are none.
    Under such a shift G follows a noncentral chi-squared law whose noncentrality is the sum of
    squared differences over the expected counts.

    >>> bool(0.04 < smallest_shift(np.array([2600.0, 2600.0]), alpha=1e-6) < 0.06)
    True
    """
    if len(expected) < 2:
        return float("inf")
    noncentrality = _noncentrality(len(expected) - 1, alpha, power)
    draws = expected.sum()
    top = expected.max() / draws
    return float(np.sqrt(noncentrality / draws * top * (1 - top)))


def poisson_binomial_cdf(successes: int, chances: Sequence[float]) -> float:
    """Return the probability of at most so many successes in independent trials.

    `scipy.stats.poisson_binom` computes the same, in newer releases than the oldest supported.

    >>> round(poisson_binomial_cdf(1, [0.5, 0.5]), 3)
    0.75
    """
    law = np.ones(1)
    for chance in chances:
        law = np.convolve(law, [1 - chance, chance])
    return float(law[: successes + 1].sum())


def p_value_of_fewer(successes: int, trials: int, least: float) -> float:
    """Return the p-value of so few successes in independent trials, whose chances may differ.

    The null hypothesis is that their mean chance is at least `least`. Up to one less than the mean
    number, so few are nowhere likelier than where all chances are equal (Hoeffding 1956, "On the
    distribution of the number of successes in independent trials"); for more it is 1.

    >>> round(p_value_of_fewer(2, 10, 0.5), 4), p_value_of_fewer(5, 10, 0.5)
    (0.0547, 1.0)
    """
    if successes > least * trials - 1:
        return 1.0
    return float(stats.binom.cdf(successes, trials, min(1.0, least)))  # a sum of chances rounds


def _pool(observed: Floats, expected: Floats, least: float) -> tuple[Floats, Floats]:
    """Pool outcomes into bins of at least `least` expected draws; common outcomes stay alone."""
    order = np.argsort(-expected, kind="stable")
    observed, expected = observed[order], expected[order]
    # Rare outcomes share bins of a twentieth of all draws: one bin would hide moves among them.
    together = max(least, expected.sum() / 20)
    number, mass = np.zeros(len(expected), dtype=np.int64), 0.0
    for place, mean in enumerate(expected[:-1]):
        mass += mean
        full = mass >= (least if mean >= least else together)
        number[place + 1] = number[place] + full
        mass = 0.0 if full else mass
    observed = np.bincount(number, weights=observed).astype(np.float64)
    expected = np.bincount(number, weights=expected).astype(np.float64)
    while len(expected) > 1 and expected[-1] < least:  # too little: merge with the bin before
        observed = np.append(observed[:-2], observed[-2:].sum())
        expected = np.append(expected[:-2], expected[-2:].sum())
    return observed, expected


def _g_test(observed: Floats, expected: Floats) -> tuple[float, float]:
    if len(expected) < 2:
        return 0.0, 1.0
    # Draws outside the support are counted separately: here both sides need the same sum.
    expected = expected * observed.sum() / expected.sum()
    statistic, p_value = stats.power_divergence(observed, expected, lambda_="log-likelihood")
    return float(statistic), float(p_value)
