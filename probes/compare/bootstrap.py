"""Bootstrap intervals, the same in every run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from probes.schema.comparison import Estimate

RESAMPLES = 2000
CONFIDENCE = 0.95


def estimate(
    size: int, statistic: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]]
) -> Estimate:
    """Return a statistic with its bootstrap interval.

    `statistic` takes indices of drawn items, out of `size`: of many draws at once, a draw a row. It
    returns a value for each row.

    >>> values = np.array([1.0, 2.0, 3.0])
    >>> estimate(3, lambda draws: values[draws].mean(axis=1)).value
    2.0
    """
    draws = np.random.default_rng(0).integers(size, size=(RESAMPLES, size))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(statistic(draws), [tail, 1 - tail])
    (value,) = statistic(np.arange(size)[np.newaxis])
    return Estimate(value=float(value), low=float(low), high=float(high))
