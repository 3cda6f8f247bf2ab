"""Geometry against its definitions: sums over pairs, written out, and every arrangement of few."""

from __future__ import annotations

import itertools
import math
from statistics import mean, pstdev
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA

from probes.stats import geometry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LABELS = [0, 1, 0, 1, 1, 2, 2]
COUNT = len(LABELS)
PAIRS = list(itertools.combinations(range(COUNT), 2))
POINTS = np.random.default_rng(0).normal(size=(COUNT, 4)) + 0.3 * np.array(LABELS)[:, None]
SIMILARITY = geometry.cosine_matrix(POINTS)


def together(labels: Sequence[int]) -> list[tuple[int, int]]:
    return [(i, j) for i, j in PAIRS if labels[i] == labels[j]]


def gap(labels: Sequence[int]) -> float:
    inside = together(labels)
    across = [pair for pair in PAIRS if pair not in inside]
    near, far = ([float(SIMILARITY[pair]) for pair in pairs] for pairs in (inside, across))
    return mean(near) - mean(far)


def cohesive(members: Iterable[int]) -> float:
    return mean(float(SIMILARITY[pair]) for pair in itertools.combinations(members, 2))


def judged(found: geometry.Test, observed: float, every: list[float]) -> None:
    """A test over all arrangements says what the list of their statistics says."""
    assert found.exact
    assert found.arrangements == len(every)
    assert found.statistic == pytest.approx(observed)
    assert found.expected == pytest.approx(mean(every), abs=1e-12)
    assert found.effect_size == pytest.approx((observed - mean(every)) / pstdev(every))
    as_large = sum(each >= observed - 1e-9 for each in every)
    assert found.p_value == pytest.approx(as_large / len(every))


# --- similarity ----------------------------------------------------------------------------------


def test_cosines_are_those_of_every_two_vectors_in_float64() -> None:
    single = POINTS.astype(np.float32)
    found = geometry.cosine_matrix(single)
    assert found.dtype == np.float64
    for i, j in itertools.product(range(COUNT), repeat=2):
        a, b = single[i].astype(float), single[j].astype(float)
        assert found[i, j] == pytest.approx(a @ b / math.sqrt((a @ a) * (b @ b)), rel=1e-12)


def test_group_means_are_means_over_pairs_of_two_different_words() -> None:
    found = geometry.group_means(SIMILARITY, LABELS)
    assert found.shape == (3, 3)
    for g, h in itertools.product(range(3), repeat=2):
        alike = [
            SIMILARITY[i, j]
            for i, j in itertools.permutations(range(COUNT), 2)
            if (LABELS[i], LABELS[j]) == (g, h)
        ]
        assert found[g, h] == pytest.approx(mean(alike))


def test_cohesion_is_the_mean_over_the_pairs_of_the_members() -> None:
    assert geometry.cohesion(SIMILARITY, [0, 2, 5]) == pytest.approx(cohesive([0, 2, 5]))


def test_overlap_is_the_share_of_won_comparisons_and_ties_count_half() -> None:
    rounded = SIMILARITY.round(1)  # so that some tie
    inside = together(LABELS)
    wins = [
        (rounded[a] > rounded[b]) + 0.5 * (rounded[a] == rounded[b])
        for a in inside
        for b in PAIRS
        if b not in inside
    ]
    assert 0.5 in wins
    found = geometry.overlap(rounded, geometry.same_group(LABELS))
    assert found == pytest.approx(mean(wins))


# --- tests by arrangements -----------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [2_000_000, 1000, 1])
def test_a_test_of_pairs_looks_at_every_order_of_the_words(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(geometry, "_CHUNK", chunk)
    found = geometry.pair_test(SIMILARITY, geometry.same_group(LABELS))
    judged(found, gap(LABELS), [*map(gap, itertools.permutations(LABELS))])


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_a_test_of_pairs_needs_some_that_are_related_and_some_that_are_not(
    labels: list[int],
) -> None:
    with pytest.raises(ValueError, match=r"^some pairs must be related and some not$"):
        geometry.pair_test(SIMILARITY[:3, :3], geometry.same_group(labels))


def test_a_test_of_pairs_takes_one_related_pair_or_all_but_one() -> None:
    one = geometry.same_group([0, 0, 1])
    some = SIMILARITY[:3, :3]
    alone = geometry.pair_test(some, one).statistic
    assert geometry.pair_test(some, ~one).statistic == pytest.approx(-alone)


@pytest.mark.parametrize("chunk", [2_000_000, 10, 1])
def test_a_test_of_cohesion_looks_at_every_choice_of_as_many_words(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(geometry, "_CHUNK", chunk)
    choices = itertools.combinations(range(COUNT), 3)
    judged(
        geometry.cohesion_test(SIMILARITY, [0, 2, 5]),
        cohesive([0, 2, 5]),
        [*map(cohesive, choices)],
    )


@pytest.mark.parametrize(
    ("test", "statistic", "possible"),
    [
        (lambda: geometry.pair_test(SIMILARITY, geometry.same_group(LABELS)), gap, 5040),
        (lambda: geometry.cohesion_test(SIMILARITY, [0, 2, 5]), lambda _: cohesive([0, 2, 5]), 35),
    ],
    ids=["pairs", "cohesion"],
)
def test_arrangements_are_drawn_where_there_are_more_than_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
    test: Callable[[], geometry.Test],
    statistic: Callable[[list[int]], float],
    possible: int,
) -> None:
    monkeypatch.setattr(geometry, "ARRANGEMENTS", possible)
    every = test()
    assert every.exact
    monkeypatch.setattr(geometry, "ARRANGEMENTS", possible - 1)
    drawn = test()
    assert not drawn.exact
    assert drawn.statistic == pytest.approx(statistic(LABELS))
    monkeypatch.setattr(geometry, "_CHUNK", 100)
    monkeypatch.setattr(geometry, "ARRANGEMENTS", possible - 1)
    in_parts = test()
    assert drawn.arrangements == in_parts.arrangements == possible - 1
    for some in (drawn, in_parts):
        wide = 5 * math.sqrt(every.p_value * (1 - every.p_value) / possible)
        assert some.p_value == pytest.approx(every.p_value, abs=wide)
        assert some.effect_size == pytest.approx(every.effect_size, abs=5 / math.sqrt(possible))
    assert test() == in_parts


def test_what_was_found_is_counted_among_the_arrangements_that_were_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(geometry, "ARRANGEMENTS", 9)
    clear = geometry.same_group([0] * 20 + [1] * 20).astype(np.float64)
    assert geometry.cohesion_test(clear, range(20)).p_value == pytest.approx(0.1)


def test_where_all_arrangements_are_alike_there_is_no_effect() -> None:
    found = geometry.cohesion_test(np.ones((4, 4)), [0, 1])
    assert (found.effect_size, found.p_value) == (0.0, 1.0)


# --- two principal components --------------------------------------------------------------------


def test_a_picture_keeps_the_two_directions_of_most_variance() -> None:
    picture = geometry.pca_2d(POINTS.astype(np.float32))
    points = POINTS.astype(np.float32).astype(float)
    centred = points - points.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    for place in range(2):
        axis = directions[:, -1 - place]
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        assert picture.axes[place] == pytest.approx(axis)
        assert picture.coordinates[:, place] == pytest.approx(centred @ axis)
        share = variances[-1 - place] / variances.sum()
        assert picture.shares[place] == pytest.approx(share)
        assert geometry.variance_shares(POINTS.astype(np.float32))[place] == pytest.approx(share)


@pytest.mark.parametrize("turned", [[1, 1], [-1, 1], [1, -1], [-1, -1]])
def test_a_picture_never_flips(monkeypatch: pytest.MonkeyPatch, turned: list[int]) -> None:
    """Whichever way round scikit-learn finds an axis: its releases differ in that."""

    class Turned(PCA):  # type: ignore[misc]  # it publishes no types
        def fit(self, points: Any) -> Any:
            super().fit(points).components_ *= np.array(turned)[:, None]
            return self

    monkeypatch.setattr(geometry, "PCA", Turned)
    points = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    assert geometry.pca_2d(points).axes.round(9).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.zeros((2, 3)), r"^\(2, 3\) is too little for two principal components$"),
        (np.zeros((3, 1)), r"^\(3, 1\) is too little for two principal components$"),
        (np.array([[1.0, 2.0]] * 3), r"^all vectors are equal: they have no principal components$"),
    ],
)
def test_what_has_no_picture_is_refused(points: geometry.Floats, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        geometry.pca_2d(points)


def test_a_picture_of_many_dimensions_is_as_exact_as_one_of_few() -> None:
    points = np.random.default_rng(0).normal(size=(60, 600)).astype(np.float32)
    shares = geometry.variance_shares(points)
    assert shares.dtype == np.float64
    assert geometry.pca_2d(points).shares == pytest.approx(shares[:2], rel=1e-9)
    assert shares == pytest.approx(geometry.variance_shares(points.astype(np.float64)), rel=1e-9)


@pytest.mark.parametrize("points", [[[0, 1], [1, 1], [2, 1]], [[0, 0], [1, 1], [2, 2]]])
def test_three_vectors_of_two_dimensions_are_enough_even_if_they_lie_on_a_line(
    points: list[list[float]],
) -> None:
    picture = geometry.pca_2d(np.array(points))
    assert picture.share == pytest.approx(1)
    assert picture.shares[0] == pytest.approx(1)


# --- groups of points ----------------------------------------------------------------------------


def test_distances_and_centroids_are_those_of_the_definition() -> None:
    lengths = geometry.distances(POINTS.astype(np.float32))
    assert lengths.dtype == np.float64
    centres = geometry.centroids(POINTS, LABELS)
    apart = geometry.centroid_distances(POINTS, LABELS)
    for i, j in itertools.product(range(COUNT), repeat=2):
        assert lengths[i, j] == pytest.approx(math.dist(POINTS[i], POINTS[j]), rel=1e-6)
    for group in range(3):
        members = [point for point, label in zip(POINTS, LABELS, strict=True) if label == group]
        assert centres[group] == pytest.approx(np.mean(members, axis=0))
        for i in range(COUNT):
            assert apart[i, group] == pytest.approx(math.dist(POINTS[i], centres[group]))


def test_silhouettes_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import silhouette_score

    lengths = geometry.distances(POINTS)
    groupings = [LABELS, LABELS[::-1], [0, 0, 0, 1, 1, 2, 2]]
    found = geometry.silhouettes(lengths, np.array(groupings))
    wanted = [silhouette_score(lengths, labels, metric="precomputed") for labels in groupings]
    assert found == pytest.approx(wanted)
    assert geometry.silhouettes(lengths / 100, np.array(groupings)) == pytest.approx(wanted)


def test_the_silhouette_of_points_that_coincide_is_nothing() -> None:
    assert geometry.silhouettes(np.zeros((4, 4)), np.array([[0, 0, 1, 1]])).tolist() == [0.0]


@pytest.mark.parametrize("chunk", [2_000_000, 1000])
def test_a_test_of_silhouettes_looks_at_every_order_of_the_points(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(geometry, "_CHUNK", chunk)
    lengths = geometry.distances(POINTS)
    orders = np.array([*itertools.permutations(LABELS)])
    judged(
        geometry.silhouette_test(lengths, LABELS),
        float(geometry.silhouettes(lengths, np.array([LABELS]))[0]),
        geometry.silhouettes(lengths, orders).tolist(),
    )


# --- what a picture loses ------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 0.01])
def test_the_loss_of_a_picture_is_that_over_all_pairs_of_pairs(scale: float) -> None:
    full = geometry.distances(scale * POINTS)
    flat = geometry.distances(geometry.pca_2d(scale * POINTS).coordinates)
    turned = {
        (nearer, farther): flat[farther] - flat[nearer]
        for nearer, farther in itertools.permutations(PAIRS, 2)
        if full[nearer] > full[farther] and flat[nearer] < flat[farther]
    }
    found = geometry.loss(flat, full)
    assert found.misordered == pytest.approx(len(turned) / math.comb(len(PAIRS), 2))
    assert found.worst == max(turned, key=turned.__getitem__)
    assert found.longest == pytest.approx(max(flat[pair] / full[pair] for pair in PAIRS))
    seen, real = ([matrix[pair] for pair in PAIRS] for matrix in (flat, full))
    assert found.rank_correlation == pytest.approx(stats.spearmanr(seen, real).statistic)


def test_a_picture_that_keeps_every_order_loses_none() -> None:
    full = geometry.distances(POINTS)
    found = geometry.loss(full / 2, full)
    assert (found.misordered, found.longest, found.worst) == (0, 0.5, None)


def test_distances_that_differ_by_rounding_are_in_no_order() -> None:
    full = np.array([[0, 1, 1 + 1e-12], [1, 0, 5], [1 + 1e-12, 5, 0]])
    flat = np.array([[0.0, 2, 1], [2, 0, 5], [1, 5, 0]])
    assert geometry.loss(flat, full).misordered == 0
    assert geometry.loss(full, flat).misordered == 0


def test_points_that_coincide_in_full_are_left_out_of_the_longest_ratio() -> None:
    full = geometry.distances(np.array([[0.0], [0.0], [4.0]]))
    assert geometry.loss(full / 2, full).longest == 0.5
