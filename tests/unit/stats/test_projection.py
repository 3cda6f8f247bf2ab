from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA

from probes.stats import projection
from probes.stats.projection import Floats, distance_matrix, measure_distortion, project_2d

POINTS = np.random.default_rng(0).normal(size=(7, 4))
PAIRS = list(itertools.combinations(range(7), 2))


@pytest.mark.parametrize("signs", [[1, 1], [-1, 1], [1, -1], [-1, -1]])
def test_projection_never_flips(monkeypatch: pytest.MonkeyPatch, signs: list[int]) -> None:
    """scikit-learn's releases differ in the sign of an axis."""

    class Flipped(PCA):  # type: ignore[misc]  # it publishes no types
        def fit(self, points: Any) -> Any:
            super().fit(points).components_ *= np.array(signs)[:, None]
            return self

    monkeypatch.setattr(projection, "PCA", Flipped)
    points = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    assert project_2d(points).axes.round(9).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((2, 3)), r"^\(2, 3\) is too little for two principal components$"),
        (np.zeros((3, 1)), r"^\(3, 1\) is too little for two principal components$"),
        (np.array([[1.0, 2.0]] * 3), r"^all vectors are equal: they have no principal components$"),
    ],
)
def test_projection_refuses_too_little(points: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project_2d(points)


@pytest.mark.parametrize("scale", [1, 0.01])
def test_distortion_is_over_all_pairs_of_pairs(scale: float) -> None:
    full = distance_matrix(scale * POINTS)
    flat = distance_matrix(project_2d(scale * POINTS).coordinates)
    reversed_ = {
        (nearer, farther): flat[farther] - flat[nearer]
        for nearer, farther in itertools.permutations(PAIRS, 2)
        if full[nearer] > full[farther] and flat[nearer] < flat[farther]
    }
    found = measure_distortion(flat, full)
    assert found.misordered == pytest.approx(len(reversed_) / math.comb(len(PAIRS), 2))
    assert found.worst == max(reversed_, key=reversed_.__getitem__)
    assert found.longest == pytest.approx(max(flat[pair] / full[pair] for pair in PAIRS))
    seen, real = ([matrix[pair] for pair in PAIRS] for matrix in (flat, full))
    assert found.rank_correlation == pytest.approx(stats.spearmanr(seen, real).statistic)


def test_distortion_ignores_rounding() -> None:
    full = np.array([[0, 1, 1 + 1e-12], [1, 0, 5], [1 + 1e-12, 5, 0]])
    flat = np.array([[0.0, 2, 1], [2, 0, 5], [1, 5, 0]])
    assert measure_distortion(flat, full).misordered == 0
    assert measure_distortion(full, flat).misordered == 0


def test_distortion_ignores_ratios_of_equal_points() -> None:
    full = distance_matrix(np.array([[0.0], [0.0], [4.0]]))
    assert measure_distortion(full / 2, full).longest == 0.5
