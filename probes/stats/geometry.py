"""How vectors of words lie: cosine, groups, principal components. Arrays in, numbers out.

Every test here is a permutation test with a fixed seed: the same vectors always give the same
p-value. Permutations are drawn `ARRANGEMENTS` times, or enumerated where there are no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ARRANGEMENTS = 100_000
"""How many random arrangements a test draws where there are more than that."""

ALPHA = 0.001
"""The p-value below which groups count as no chance; clear groups reach about 1e-5."""

SEED = 20231010

_TOLERANCE = 1e-9
"""Arrangements that only name the groups otherwise differ by rounding: they count as equal."""

_CHUNK = 2_000_000
"""Numbers held at once while arrangements are computed."""


@dataclass(frozen=True)
class Test:
    """A permutation test: how often chance does as well as what was found.

    Attributes:
        statistic: what was found.
        expected: its mean over all arrangements.
        effect_size: statistic minus mean, in standard deviations over the arrangements.
        p_value: share of arrangements with a statistic as large or larger, what was found
            counted among them.
        arrangements: how many were looked at.
        exact: whether those are all there are.
    """

    __test__ = False  # pytest would take it for a class of tests

    statistic: float
    expected: float
    effect_size: float
    p_value: float
    arrangements: int
    exact: bool


def cosine_matrix(vectors: npt.NDArray[Any]) -> Floats:
    """Cosine similarity of every two vectors, by scikit-learn in float64.

    Args:
        vectors: (n, dimensions), of any float dtype.

    Returns:
        (n, n), float64, symmetric, 1 on the diagonal.

    >>> cosine_matrix(np.array([[1.0, 0.0], [3.0, 4.0]])).round(2).tolist()
    [[1.0, 0.6], [0.6, 1.0]]
    """
    similarity: Floats = cosine_similarity(np.asarray(vectors, dtype=np.float64))
    return similarity


def pairs(matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The entries above the diagonal, row after row: each pair once.

    >>> pairs(np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]])).tolist()
    [1, 2, 3]
    """
    above: npt.NDArray[Any] = matrix[np.triu_indices(len(matrix), 1)]
    return above


def same_group(labels: Sequence[int]) -> Bools:
    """For every two words whether they are of one group: (n, n).

    >>> same_group([0, 0, 1]).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    numbers = np.asarray(labels)
    related: Bools = numbers[:, None] == numbers[None, :]
    return related


def group_means(similarity: Floats, labels: Sequence[int]) -> Floats:
    """Mean similarity between the words of every two groups, a word with itself left out.

    Args:
        similarity: (n, n).
        labels: the group of each word, from 0; every group has two words or more.

    Returns:
        (groups, groups): on the diagonal each group's cohesion.

    >>> matrix = np.array([[1, 0.9, 0.1, 0.3], [0.9, 1, 0.2, 0.2], [0.1, 0.2, 1, 0.7],
    ...                    [0.3, 0.2, 0.7, 1]])
    >>> group_means(matrix, [0, 0, 1, 1]).round(2).tolist()
    [[0.9, 0.2], [0.2, 0.7]]
    """
    member = np.eye(max(labels) + 1)[:, list(labels)]
    sizes = member.sum(axis=1)
    counts = np.outer(sizes, sizes) - np.diag(sizes)
    without_self = similarity - np.diag(np.diag(similarity))
    means: Floats = member @ without_self @ member.T / counts
    return means


def cohesion(similarity: Floats, members: Sequence[int]) -> float:
    """Mean similarity of every two of some words.

    >>> cohesion(np.array([[1.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 1.0]]), [0, 2])
    0.1
    """
    return float(pairs(similarity[np.ix_(members, members)]).mean())


def overlap(similarity: Floats, related: Bools) -> float:
    """Chance that a related pair is more alike than an unrelated one; 1 if all of them are.

    Ties count half: 0.5 where being related says nothing.

    >>> overlap(np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]]), same_group([0, 0, 1]))
    1.0
    """
    alike, chosen = pairs(similarity), pairs(related)
    inside, across = alike[chosen], alike[~chosen]
    wins = stats.mannwhitneyu(inside, across).statistic
    return float(wins / (len(inside) * len(across)))


def pair_test(similarity: Floats, related: Bools) -> Test:
    """Are related pairs more alike than chance? Words change places at random.

    The statistic is the mean similarity of related pairs minus that of all others.

    Args:
        similarity: (n, n), symmetric.
        related: (n, n), symmetric; some pairs are related and some are not.

    Raises:
        ValueError: if all pairs are related, or none.

    >>> matrix = np.kron(np.eye(2), np.ones((4, 4)))
    >>> found = pair_test(matrix, same_group([0] * 4 + [1] * 4))
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
        sums = similarity[orders[:, left], orders[:, right]].sum(axis=1)
        gap: Floats = sums / inside - (total - sums) / across
        return gap

    return _over_orders(len(similarity), int(inside), statistic)


def cohesion_test(similarity: Floats, members: Sequence[int]) -> Test:
    """Are some words more alike than as many words taken at random from all?

    Args:
        similarity: (n, n).
        members: places of two of the words or more.

    >>> matrix = np.kron(np.eye(2), np.ones((3, 3)))
    >>> cohesion_test(matrix, [0, 1, 2]).p_value, cohesion_test(matrix, [0, 1, 3]).p_value
    (0.1, 1.0)
    """
    size, count = len(members), len(similarity)
    exact = math.comb(count, size) <= ARRANGEMENTS
    left, right = np.triu_indices(size, 1)

    def statistic(chosen: Ints) -> Floats:
        means: Floats = similarity[chosen[:, left], chosen[:, right]].mean(axis=1)
        return means

    if exact:
        subsets = np.array([*combinations(range(count), size)])
        found = [statistic(part) for part in _split(subsets, len(left))]
    else:
        found = [statistic(part[:, :size]) for part in _random_orders(count, len(left) + count)]
    observed = float(statistic(np.array([list(members)]))[0])
    return _judged(observed, np.concatenate(found), exact=exact)


# --- two principal components --------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """Vectors seen in their first two principal components.

    Attributes:
        coordinates: (n, 2).
        shares: (2,), the share of the variance that each component keeps.
        axes: (2, dimensions), unit vectors.
    """

    coordinates: Floats
    shares: Floats
    axes: Floats

    @property
    def share(self) -> float:
        """The share of the variance that both keep."""
        return float(self.shares.sum())


def pca_2d(vectors: npt.NDArray[Any]) -> Picture:
    """The first two principal components, by scikit-learn with the full solver in float64.

    A component's direction is arbitrary: here its loading of largest magnitude is positive, so
    that a picture of the same vectors never flips.

    Args:
        vectors: (n, dimensions), three vectors or more of two dimensions or more.

    Raises:
        ValueError: too few vectors or dimensions, or all vectors are equal.

    >>> picture = pca_2d(np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, -1.0], [0.0, 1.0]]))
    >>> picture.shares.round(2).tolist(), abs(picture.coordinates).round(2).tolist()[0]
    ([0.9, 0.1], [3.0, 0.0])
    """
    points = np.asarray(vectors, dtype=np.float64)
    if len(points) < 3 or points.shape[1] < 2:
        raise ValueError(f"{points.shape} is too little for two principal components")
    if np.ptp(points, axis=0).max() == 0:
        raise ValueError("all vectors are equal: they have no principal components")
    fitted = PCA(n_components=2, svd_solver="full").fit(points)
    axes = np.asarray(fitted.components_)
    strongest = np.abs(axes).argmax(axis=1)
    axes = axes * np.where(axes[[0, 1], strongest] < 0, -1.0, 1.0)[:, None]
    coordinates = (points - points.mean(axis=0)) @ axes.T
    return Picture(coordinates, np.asarray(fitted.explained_variance_ratio_), axes)


def variance_shares(vectors: npt.NDArray[Any]) -> Floats:
    """Share of the variance in each principal component, from singular values alone.

    Written without scikit-learn, to check it by.

    >>> variance_shares(np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, -1.0], [0.0, 1.0]])).tolist()
    [0.9, 0.1]
    """
    points = np.asarray(vectors, dtype=np.float64)
    squares = np.linalg.svd(points - points.mean(axis=0), compute_uv=False) ** 2
    shares: Floats = squares / squares.sum()
    return shares


def distances(points: npt.NDArray[Any]) -> Floats:
    """Euclidean distance between every two points: (n, n), float64.

    >>> distances(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    exact = np.asarray(points, dtype=np.float64)
    lengths: Floats = np.linalg.norm(exact[:, None] - exact[None], axis=-1)
    return lengths


def centroids(points: npt.NDArray[Any], labels: Sequence[int]) -> Floats:
    """The mean point of each group: (groups, dimensions).

    >>> centroids(np.array([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]]), [0, 0, 1]).tolist()
    [[1.0, 0.0], [5.0, 5.0]]
    """
    member = np.eye(max(labels) + 1)[:, list(labels)]
    means: Floats = member @ points / member.sum(axis=1, keepdims=True)
    return means


def centroid_distances(points: npt.NDArray[Any], labels: Sequence[int]) -> Floats:
    """Distance of every point from every group's centroid: (n, groups).

    >>> points = np.array([[0.0, 0.0], [2.0, 0.0], [9.0, 0.0], [11.0, 0.0]])
    >>> centroid_distances(points, [0, 0, 1, 1]).tolist()[0]
    [1.0, 10.0]
    """
    centres = centroids(points, labels)
    lengths: Floats = np.linalg.norm(points[:, None] - centres[None], axis=-1)
    return lengths


def silhouettes(lengths: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """Mean silhouette of each of many groupings of the same points.

    A point's silhouette compares its mean distance to its own group, a, with that to the nearest
    other group, b: (b - a) / max(a, b), between -1 and 1.

    Args:
        lengths: (n, n), distances.
        labels: (groupings, n), each with the same groups of two points or more.

    Returns:
        (groupings,).

    >>> line = distances(np.array([[0.0], [1.0], [10.0], [11.0]]))
    >>> silhouettes(line, np.array([[0, 0, 1, 1], [0, 1, 0, 1]])).round(3).tolist()
    [0.9, -0.45]
    """
    groups = np.arange(labels.max() + 1)
    member = labels[:, None, :] == groups[None, :, None]
    sums = member.astype(np.float64) @ lengths
    sizes = member.sum(axis=2, keepdims=True)
    own = np.where(member, sums / (sizes - 1), 0.0).sum(axis=1)
    other = np.where(member, np.inf, sums / sizes).min(axis=1)
    largest = np.maximum(own, other)
    values: Floats = np.divide(other - own, largest, out=np.zeros_like(own), where=largest > 0)
    means: Floats = values.mean(axis=1)
    return means


def silhouette_test(lengths: Floats, labels: Sequence[int]) -> Test:
    """Do groups of points lie apart by more than chance? The statistic is the mean silhouette.

    Args:
        lengths: (n, n), distances.
        labels: the group of each point, from 0; every group has two points or more.

    >>> found = silhouette_test(distances(np.arange(8)[:, None] // 4 * 9.0), [0] * 4 + [1] * 4)
    >>> found.statistic, round(found.p_value * 35, 6)
    (1.0, 1.0)
    """
    numbers = np.asarray(labels)
    return _over_orders(
        len(labels),
        len(labels) * (max(labels) + 1),
        lambda orders: silhouettes(lengths, numbers[orders]),
    )


@dataclass(frozen=True)
class Loss:
    """What a picture in two dimensions does to the distances between all pairs.

    Attributes:
        rank_correlation: Spearman's, of distances in the picture and in the full space.
        misordered: share of pairs of pairs whose order the picture turns round.
        longest: largest ratio of a distance in the picture to the full one; a projection never
            exceeds 1.
        worst: the two pairs of places that are turned round the most: the first looks nearer and
            lies farther than the second; None where no order is turned round.
    """

    rank_correlation: float
    misordered: float
    longest: float
    worst: tuple[tuple[int, int], tuple[int, int]] | None


def loss(flat: Floats, full: Floats) -> Loss:
    """Compare distances in a picture with those in the full space, over all pairs.

    Args:
        flat: (n, n), distances in the picture.
        full: (n, n), distances in the full space.

    >>> full = distances(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 9.0]]))
    >>> found = loss(distances(np.array([[0.0], [1.0], [0.0]])), full)
    >>> round(found.misordered, 2), found.worst
    (0.33, ((0, 2), (0, 1)))
    """
    seen, real = pairs(flat), pairs(full)
    turned, largest, worst = 0, 0.0, None
    for pair, (looks, lies) in enumerate(zip(seen, real, strict=True)):
        # By how much others look farther though they lie nearer.
        excess = np.where(real < lies - _TOLERANCE, seen - looks, 0.0)
        turned += int((excess > _TOLERANCE).sum())
        if excess.max() > max(largest, _TOLERANCE):
            largest, worst = float(excess.max()), (pair, int(excess.argmax()))
    places = [*zip(*(side.tolist() for side in np.triu_indices(len(full), 1)), strict=True)]
    return Loss(
        rank_correlation=float(stats.spearmanr(seen, real).statistic),
        misordered=turned / math.comb(len(seen), 2),
        longest=float(np.divide(seen, real, out=np.zeros_like(seen), where=real > 0).max()),
        worst=None if worst is None else (places[worst[0]], places[worst[1]]),
    )


# --- arrangements --------------------------------------------------------------------------------


def _over_orders(count: int, width: int, statistic: Callable[[Ints], Floats]) -> Test:
    """A test whose arrangements are orders of `count` words."""
    exact = math.factorial(count) <= ARRANGEMENTS
    if exact:
        every = np.array([*permutations(range(count))])
        parts: Iterator[Ints] = _split(every, width + count)
    else:
        parts = _random_orders(count, width + count)
    found = np.concatenate([statistic(part) for part in parts])
    return _judged(float(statistic(np.arange(count)[None])[0]), found, exact=exact)


def _split(rows: Ints, width: int) -> Iterator[Ints]:
    """Rows in parts that are small enough to compute at once; `width` is what one row takes."""
    step = max(1, _CHUNK // width)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _random_orders(count: int, width: int) -> Iterator[Ints]:
    """The same random orders of `count` places in every run, in parts."""
    generator = np.random.default_rng(SEED)
    step = max(1, _CHUNK // width)
    for start in range(0, ARRANGEMENTS, step):
        rows = min(step, ARRANGEMENTS - start)
        yield generator.permuted(np.tile(np.arange(count), (rows, 1)), axis=1)


def _judged(observed: float, found: Floats, *, exact: bool) -> Test:
    """What was found against all arrangements; among random ones it is counted as one more."""
    as_large = int((found >= observed - _TOLERANCE).sum())
    spread = float(found.std())
    return Test(
        statistic=observed,
        expected=float(found.mean()),
        effect_size=(observed - float(found.mean())) / spread if spread > 0 else 0.0,
        p_value=as_large / len(found) if exact else (as_large + 1) / (len(found) + 1),
        arrangements=len(found),
        exact=exact,
    )
