"""Do draws follow a distribution? A G-test with a fixed error rate and a stated power.

The whole suite may raise a false alarm in one run of a million: `ERROR_BUDGET` is shared out
equally over the drawn tests a run makes, so that adding a test never raises the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

if TYPE_CHECKING:
    from collections.abc import Sequence

ERROR_BUDGET = 1e-6
"""Probability that any drawn test of one run fails although everything is right."""

DRAWN_TESTS = 40
"""How many tests share the budget: at least as many as a run on one target makes."""

ALPHA = ERROR_BUDGET / DRAWN_TESTS
"""Probability that one drawn test fails although everything is right."""

MIN_EXPECTED = 100.0
"""Expected draws a bin has at least: so far out in the tail the chi-squared law needs many."""

SHOWN = 1e-3
"""Below this p-value a difference that a claim says there is counts as shown. Such a claim fails
where nothing is wrong only if it misses a difference that is there, so it draws enough for a
difference many standard errors wide."""

POWER = 0.99
"""The probability with which the stated smallest shift would be caught."""


@dataclass(frozen=True)
class Fit:
    """A G-test of draws against probabilities.

    Attributes:
        draws: how many draws.
        bins: how many bins after pooling.
        statistic: G, twice the log-likelihood ratio, in nats.
        p_value: probability of a G as large or larger if the draws follow the distribution.
        alpha: below which p-value the test fails.
        smallest_shift: the least probability moved from the likeliest bin to the others in
            proportion that the test catches with probability 0.99.
        outside: draws of outcomes whose probability is 0; one is enough to fail.
    """

    draws: int
    bins: int
    statistic: float
    p_value: float
    alpha: float
    smallest_shift: float
    outside: int

    @property
    def good(self) -> bool:
        """Whether the draws are compatible with the distribution."""
        return self.outside == 0 and self.p_value >= self.alpha


def goodness_of_fit(
    counts: Sequence[int] | npt.NDArray[np.int64],
    probabilities: Sequence[float] | npt.NDArray[np.float64],
    alpha: float = ALPHA,
    min_expected: float = MIN_EXPECTED,
) -> Fit:
    """Test draws against the probabilities they should have.

    Outcomes that expect fewer than `min_expected` draws are pooled into bins that expect more.

    Args:
        counts: (outcomes,), how often each was drawn.
        probabilities: (outcomes,), they sum to 1.
        alpha: the error rate.
        min_expected: least expected count of a bin.

    Raises:
        ValueError: if the two differ in length or the probabilities do not sum to 1.

    >>> goodness_of_fit([5020, 4980], [0.5, 0.5]).good
    True
    >>> goodness_of_fit([5500, 4500], [0.5, 0.5]).good
    False
    >>> goodness_of_fit([10000, 1], [1.0, 0.0]).outside
    1
    """
    observed = np.asarray(counts, dtype=np.float64)
    chances = np.asarray(probabilities, dtype=np.float64)
    if observed.shape != chances.shape:
        raise ValueError(f"{observed.shape} counts for {chances.shape} probabilities")
    if abs(chances.sum() - 1) > 1e-6:
        raise ValueError(f"probabilities sum to {chances.sum()}, not to 1")
    draws = observed.sum()
    outside = int(observed[chances == 0].sum())
    observed, expected = _pooled(observed, chances * draws, min_expected)
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


def smallest_shift(expected: npt.NDArray[np.float64], alpha: float, power: float = POWER) -> float:
    """The least mass moved away from the likeliest bin that the test catches.

    The mass goes to the other bins in proportion to theirs. Under such a shift G follows a
    noncentral chi-squared law whose noncentrality is the sum of squared differences over the
    expected counts.

    Args:
        expected: (bins,), expected counts.
        alpha: error rate of the test.
        power: probability of catching it.

    Returns:
        A probability; infinite where one bin leaves nothing to test.

    >>> bool(0.04 < smallest_shift(np.array([2600.0, 2600.0]), alpha=1e-6) < 0.06)
    True
    """
    if len(expected) < 2:
        return float("inf")
    df = len(expected) - 1
    critical = stats.chi2.isf(alpha, df)
    noncentrality = optimize.brentq(lambda x: stats.ncx2.sf(critical, df, x) - power, 1e-3, 1e5)
    draws = expected.sum()
    top = expected.max() / draws
    return float(np.sqrt(noncentrality / draws * top * (1 - top)))


def _pooled(
    observed: npt.NDArray[np.float64], expected: npt.NDArray[np.float64], least: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bins of at least `least` expected draws: common outcomes alone, the rare ones together.

    The rare ones are put together from the likeliest on, each bin with a twentieth of all draws:
    one bin of all of them could not see draws move among them.
    """
    order = np.argsort(-expected, kind="stable")
    observed, expected = observed[order], expected[order]
    together = max(least, expected.sum() / 20)
    number, mass = np.zeros(len(expected), dtype=np.int64), 0.0
    for place, mean in enumerate(expected[:-1]):
        mass += mean
        full = mass >= (least if mean >= least else together)
        number[place + 1] = number[place] + full
        mass = 0.0 if full else mass
    observed = np.bincount(number, weights=observed).astype(np.float64)
    expected = np.bincount(number, weights=expected).astype(np.float64)
    while len(expected) > 1 and expected[-1] < least:  # too little: with the bin before
        observed = np.append(observed[:-2], observed[-2:].sum())
        expected = np.append(expected[:-2], expected[-2:].sum())
    return observed, expected


def _g_test(
    observed: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]
) -> tuple[float, float]:
    if len(expected) < 2:
        return 0.0, 1.0
    # Draws outside the support are counted apart: here both sides must have the same sum.
    expected = expected * observed.sum() / expected.sum()
    statistic, p_value = stats.power_divergence(observed, expected, lambda_="log-likelihood")
    return float(statistic), float(p_value)
