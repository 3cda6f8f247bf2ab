"""The projection of vectors to their first two principal components, and what it distorts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from probes.stats.similarity import upper_triangle

Floats = npt.NDArray[np.float64]

_TOLERANCE = 1e-9  # distances that differ by less count as equal


@dataclass(frozen=True)
class Projection:
    """Vectors projected to their first two principal components."""

    coordinates: Floats  # (n, 2)
    shares: Floats  # (2,), the share of the variance that each component keeps
    axes: Floats  # (2, dimensions), unit vectors

    @property
    def share(self) -> float:
        """The share of the variance that both components keep."""
        return float(self.shares.sum())


def project_2d(vectors: npt.NDArray[Any]) -> Projection:
    """Project vectors to their first two principal components: full solver, float64.

    A component's direction is arbitrary: here its largest loading by magnitude is positive, so
    that the projection of the same vectors never flips. Raises ValueError for fewer than three
    vectors or two dimensions, or if all vectors are equal.

    >>> found = project_2d(np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, -1.0], [0.0, 1.0]]))
    >>> found.shares.round(2).tolist(), abs(found.coordinates).round(2).tolist()[0]
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
    return Projection(coordinates, np.asarray(fitted.explained_variance_ratio_), axes)


def distance_matrix(points: npt.NDArray[Any]) -> Floats:
    """Return the Euclidean distance of every two points: (n, n), computed in float64.

    >>> distance_matrix(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    exact = np.asarray(points, dtype=np.float64)
    lengths: Floats = cdist(exact, exact)
    return lengths


@dataclass(frozen=True)
class Distortion:
    """How a projection changes the distances of all pairs.

    Of the `worst` two pairs, those reversed the most, the first looks nearer and is farther; it is
    None where no order is reversed.
    """

    rank_correlation: float  # Spearman's, of projected and full distances
    misordered: float  # share of pairs of pairs whose order the projection reverses
    longest: float  # largest ratio of a projected distance to the full one; never above 1
    worst: tuple[tuple[int, int], tuple[int, int]] | None


def measure_distortion(projected: Floats, full: Floats) -> Distortion:
    """Compare distances after a projection with those before it, both (n, n), over all pairs.

    >>> full = distance_matrix(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 9.0]]))
    >>> found = measure_distortion(distance_matrix(np.array([[0.0], [1.0], [0.0]])), full)
    >>> round(found.misordered, 2), found.worst
    (0.33, ((0, 2), (0, 1)))
    """
    seen, real = upper_triangle(projected), upper_triangle(full)
    misordered, largest, worst = 0, _TOLERANCE, None
    for pair, (looks, lies) in enumerate(zip(seen, real, strict=True)):
        # By how much other pairs look farther although they are nearer.
        excess = np.where(real < lies - _TOLERANCE, seen - looks, 0.0)
        misordered += int((excess > _TOLERANCE).sum())
        if excess.max() > largest:
            largest, worst = float(excess.max()), (pair, int(excess.argmax()))
    ends = [*zip(*(side.tolist() for side in np.triu_indices(len(full), 1)), strict=True)]
    return Distortion(
        rank_correlation=float(stats.spearmanr(seen, real).statistic),
        misordered=misordered / math.comb(len(seen), 2),
        longest=float(np.divide(seen, real, out=np.zeros_like(seen), where=real > 0).max()),
        worst=None if worst is None else (ends[worst[0]], ends[worst[1]]),
    )
