"""Permutation tests of similarities, distances and paired probabilities, by scipy.

The seed is fixed: the same input always gives the same p-value. All arrangements are enumerated
where there are at most `ARRANGEMENTS`; otherwise so many are drawn at random.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from probes.schema.evidence.shape import Interval

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ARRANGEMENTS = 100_000  # how many random arrangements a test draws where there are more than that
ALPHA = 0.001  # the p-value below which groups or differences count as real
RESAMPLES = 9999  # of paired tests and their intervals

SEED = 20231010

_DECIMALS = 12  # equal statistics of different arrangements differ by rounding

_NUMBERS_AT_ONCE = 200_000  # in float64 about what a processor's cache holds


@dataclass(frozen=True)
class PermutationTest:
    """The result of a one-sided permutation test."""

    statistic: float  # of the data as they are
    expected: float  # its mean over all arrangements
    effect_size: float  # statistic minus mean, in standard deviations over the arrangements
    p_value: float  # share with a statistic as large or larger, the data's own included
    arrangements: int  # how many were computed
    exact: bool  # whether those are all there are


def compare_pairs_with_chance(similarity: Floats, related: Bools) -> PermutationTest:
    """Test whether related pairs are more similar than chance: items are permuted.

    The statistic is the mean similarity of related pairs minus that of all others. Both matrices
    are (n, n) and symmetric. Raises ValueError if all pairs are related, or none.

    >>> matrix, group = np.kron(np.eye(2), np.ones((4, 4))), np.arange(8) // 4
    >>> found = compare_pairs_with_chance(matrix, group[:, None] == group)
    >>> found.statistic, round(found.p_value * 35, 6), found.exact
    (1.0, 1.0, True)
    """
    first, second = np.triu_indices(len(similarity), 1)
    chosen = related[first, second]
    if not 0 < chosen.sum() < len(chosen):
        raise ValueError("some pairs must be related and some not")
    total, inside, across = similarity[first, second].sum(), chosen.sum(), (~chosen).sum()
    left, right = first[chosen], second[chosen]

    def statistic(orders: Ints) -> Floats:
        sums = similarity[orders[..., left], orders[..., right]].sum(axis=-1)
        gap: Floats = sums / inside - (total - sums) / across
        return gap

    return _permute(len(similarity), statistic, width=int(inside))


def compare_cohesion_with_chance(similarity: Floats, members: Sequence[int]) -> PermutationTest:
    """Test whether some items are more similar to each other than as many random ones.

    The statistic is their mean similarity; two members or more, and two others or more.

    >>> matrix = np.kron(np.eye(2), np.ones((3, 3)))
    >>> compare_cohesion_with_chance(matrix, [0, 1, 2]).p_value
    0.1
    """
    left, right = np.triu_indices(len(members), 1)

    def statistic(chosen: Ints, _: Ints | None = None) -> Floats:
        means: Floats = similarity[chosen[..., left], chosen[..., right]].mean(axis=-1)
        return means

    if math.comb(len(similarity), len(members)) <= ARRANGEMENTS:
        choices = _list_choices(len(similarity), len(members))
        observed, null = (statistic(each).round(_DECIMALS) for each in (np.array(members), choices))
        return _summarize(float(observed), null, float((null >= observed).mean()), exact=True)
    others = np.setdiff1d(np.arange(len(similarity)), members)
    return _run(
        (np.array(members), others),
        statistic,
        "independent",
        width=len(left),
        possible=math.comb(len(similarity), len(members)),
    )


@cache
def _list_choices(count: int, size: int) -> Ints:
    """Return every choice of `size` of `count` items: (choices, size).

    scipy lists them one by one for each test, which takes most of its time.
    """
    chosen = itertools.chain.from_iterable(itertools.combinations(range(count), size))
    return np.fromiter(chosen, dtype=np.int64).reshape(-1, size)


def compare_silhouette_with_chance(distances: Floats, labels: Sequence[int]) -> PermutationTest:
    """Test whether groups of points lie further apart than chance, by their mean silhouette.

    >>> distances = np.kron(1 - np.eye(2), np.ones((4, 4)))
    >>> found = compare_silhouette_with_chance(distances, [0] * 4 + [1] * 4)
    >>> found.statistic, round(found.p_value * 35, 6)
    (1.0, 1.0)
    """
    numbers = np.asarray(labels)
    return _permute(
        len(labels),
        lambda orders: mean_silhouettes(distances, numbers[orders]),
        width=len(labels) * (max(labels) + 1),
    )


def mean_silhouettes(distances: Floats, labels: Ints) -> Floats:
    """Return the mean silhouette of each of many groupings, (..., n), of the same points.

    A point's silhouette compares its mean distance to its own group, a, with that to the nearest
    other group, b: (b - a) / max(a, b). Every group has two points or more. scikit-learn computes
    one grouping a call, which takes minutes for those of a test: this computes all together.

    >>> line = abs(np.subtract.outer([0.0, 1, 10, 11], [0.0, 1, 10, 11]))
    >>> mean_silhouettes(line, np.array([[0, 0, 1, 1], [0, 1, 0, 1]])).round(3).tolist()
    [0.9, -0.45]
    """
    groups = np.arange(labels.max() + 1)
    member = labels[..., None, :] == groups[:, None]
    sums = member.astype(np.float64) @ distances
    sizes = member.sum(axis=-1)
    place = labels[..., None, :]
    own = np.take_along_axis(sums, place, axis=-2)[..., 0, :]
    own /= np.take_along_axis(sizes, labels, axis=-1) - 1
    sums /= sizes[..., None]
    np.put_along_axis(sums, place, np.inf, axis=-2)
    other = sums.min(axis=-2)
    largest = np.maximum(own, other)
    values: Floats = np.divide(other - own, largest, out=np.zeros_like(own), where=largest > 0)
    means: Floats = values.mean(axis=-1)
    return means


@dataclass(frozen=True)
class PairedComparison:
    """The comparison of two series of probabilities, item by item."""

    by: str  # `bounds`, or how many draws of the second series
    difference: float  # least mean of the first's probability minus the second's
    low: float  # lower end of the 99 % interval of that mean, for other items of the kind
    high: float  # its upper end
    p_value: float  # of a difference as large by chance; of several tests the largest
    better: int  # items more probable in the first series
    worse: int


def compare_paired(first: Floats, second: Floats, by: str = "bounds") -> PairedComparison:
    """Compare two probabilities of each of several items, (items,) each.

    The p-value is that of a permutation test that swaps the two probabilities of an item.

    >>> clear = compare_paired(np.full(30, 0.9), np.linspace(0.2, 0.8, 30))
    >>> round(clear.difference, 2), clear.p_value, clear.better
    (0.4, 0.0001, 30)
    """
    differences = first - second
    generator = np.random.default_rng(SEED)
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        alternative="greater",
        n_resamples=RESAMPLES,
        random_state=generator,
    )
    interval = interval_of_mean(differences, generator)
    return PairedComparison(
        by=by,
        difference=float(differences.mean()),
        low=interval.low,
        high=interval.high,
        p_value=float(test.pvalue),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
    )


def interval_of_mean(values: Floats, generator: np.random.Generator | int = SEED) -> Interval:
    """Return the mean of some values with its 99 % bootstrap interval.

    >>> interval_of_mean(np.full(30, 0.5)).low
    0.5
    """
    found = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=0.99,
        method="percentile",
        n_resamples=RESAMPLES,
        random_state=generator,
    ).confidence_interval
    return Interval(value=float(values.mean()), low=float(found.low), high=float(found.high))


def _permute(count: int, statistic: Callable[[Ints], Floats], width: int) -> PermutationTest:
    """Test a statistic of the order of `count` items."""
    items = (np.arange(count),)
    return _run(items, statistic, "pairings", width=width + count, possible=math.factorial(count))


def _run(
    data: tuple[Ints, ...],
    statistic: Callable[..., Floats],
    kind: Literal["independent", "pairings"],
    *,
    width: int,
    possible: int,
) -> PermutationTest:
    """Run a test; `width` is how many numbers one arrangement takes."""

    def rounded(*arrangements: npt.NDArray[Any], axis: int) -> Floats:  # noqa: ARG001
        positions = [each.astype(np.int64) for each in arrangements]
        found: Floats = np.asarray(statistic(*positions)).round(_DECIMALS)
        return found

    result = stats.permutation_test(
        data,
        rounded,
        permutation_type=kind,
        vectorized=True,
        n_resamples=ARRANGEMENTS,
        batch=max(1, _NUMBERS_AT_ONCE // width),
        alternative="greater",
        random_state=np.random.default_rng(SEED),
    )
    return _summarize(
        float(result.statistic),
        np.asarray(result.null_distribution),
        float(result.pvalue),
        exact=possible <= ARRANGEMENTS,
    )


def _summarize(observed: float, found: Floats, p_value: float, *, exact: bool) -> PermutationTest:
    """Describe a statistic by those of all arrangements."""
    spread = float(found.std())
    return PermutationTest(
        statistic=observed,
        expected=float(found.mean()),
        effect_size=(observed - float(found.mean())) / spread if spread > 0 else 0.0,
        p_value=p_value,
        arrangements=len(found),
        exact=exact,
    )
