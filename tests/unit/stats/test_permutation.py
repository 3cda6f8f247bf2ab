from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from statistics import mean, pstdev

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from probes.stats import permutation, similarity
from probes.stats.permutation import (
    PermutationTest,
    compare_cohesion_with_chance,
    compare_paired,
    compare_pairs_with_chance,
    compare_silhouette_with_chance,
    mean_silhouettes,
)
from probes.stats.projection import distance_matrix

LABELS = [0, 1, 0, 1, 1, 2, 2]
COUNT = len(LABELS)
PAIRS = list(itertools.combinations(range(COUNT), 2))
POINTS = np.random.default_rng(0).normal(size=(COUNT, 4)) + 0.3 * np.array(LABELS)[:, None]
SIMILARITY = similarity.cosine_matrix(POINTS)
RELATED = similarity.same_group(LABELS)
DISTANCES = distance_matrix(POINTS)


def gap(labels: Sequence[int]) -> float:
    inside = [float(SIMILARITY[i, j]) for i, j in PAIRS if labels[i] == labels[j]]
    across = [float(SIMILARITY[i, j]) for i, j in PAIRS if labels[i] != labels[j]]
    return mean(inside) - mean(across)


def cohesion(members: Iterable[int]) -> float:
    return mean(float(SIMILARITY[pair]) for pair in itertools.combinations(members, 2))


def silhouette(labels: Sequence[int]) -> float:
    return float(silhouette_score(DISTANCES, labels, metric="precomputed"))


def test_group_means_leave_out_a_word_with_itself() -> None:
    found = similarity.mean_between_groups(SIMILARITY, LABELS)
    assert found.shape == (3, 3)
    for g, h in itertools.product(range(3), repeat=2):
        pairs = [
            SIMILARITY[i, j]
            for i, j in itertools.permutations(range(COUNT), 2)
            if (LABELS[i], LABELS[j]) == (g, h)
        ]
        assert found[g, h] == pytest.approx(mean(pairs))


def test_pair_auc_counts_ties_half() -> None:
    rounded = SIMILARITY.round(1)
    wins = [
        (rounded[a] > rounded[b]) + 0.5 * (rounded[a] == rounded[b])
        for a in PAIRS
        for b in PAIRS
        if RELATED[a] and not RELATED[b]
    ]
    assert 0.5 in wins
    assert similarity.pair_auc(rounded, RELATED) == pytest.approx(mean(wins))


CASES: dict[str, tuple[Callable[[], PermutationTest], float, list[float]]] = {
    "pairs": (
        lambda: compare_pairs_with_chance(SIMILARITY, RELATED),
        gap(LABELS),
        [*map(gap, itertools.permutations(LABELS))],
    ),
    "cohesion": (
        lambda: compare_cohesion_with_chance(SIMILARITY, [0, 2, 5]),
        cohesion([0, 2, 5]),
        [*map(cohesion, itertools.combinations(range(COUNT), 3))],
    ),
    "silhouette": (
        lambda: compare_silhouette_with_chance(DISTANCES, LABELS),
        silhouette(LABELS),
        mean_silhouettes(DISTANCES, np.array([*itertools.permutations(LABELS)])).tolist(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_few_arrangements_are_all_enumerated(case: str) -> None:
    run, observed, every = CASES[case]
    found = run()
    assert found.exact
    assert found.arrangements == len(every)
    assert found.statistic == pytest.approx(observed)
    assert found.expected == pytest.approx(mean(every), abs=1e-11)
    assert found.effect_size == pytest.approx((observed - mean(every)) / pstdev(every))
    as_large = sum(each >= observed - 1e-9 for each in every)
    assert found.p_value == pytest.approx(as_large / len(every))


@pytest.mark.parametrize("case", CASES)
def test_random_arrangements_approximate_all(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _, every = CASES[case]
    exact = run()
    possible = len(every) - 1
    monkeypatch.setattr(permutation, "ARRANGEMENTS", possible)
    found = run()
    assert not found.exact
    assert (found.arrangements, found.statistic) == (possible, exact.statistic)
    wide = 5 * math.sqrt(exact.p_value * (1 - exact.p_value) / possible)
    assert found.p_value == pytest.approx(exact.p_value, abs=wide)
    assert found.effect_size == pytest.approx(exact.effect_size, abs=5 / math.sqrt(possible))
    assert run() == found


def test_random_p_value_counts_the_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutation, "ARRANGEMENTS", 9)
    clear = similarity.same_group([0] * 20 + [1] * 20).astype(np.float64)
    found = compare_cohesion_with_chance(clear, range(20))
    assert found.p_value == pytest.approx(0.1)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_pairs_need_related_and_unrelated(labels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^some pairs must be related and some not$"):
        compare_pairs_with_chance(SIMILARITY[:3, :3], similarity.same_group(labels))


def test_equal_arrangements_have_no_effect() -> None:
    found = compare_cohesion_with_chance(np.ones((4, 4)), [0, 1])
    assert (found.effect_size, found.p_value) == (0.0, 1.0)


def test_mean_silhouettes_match_scikit_learn() -> None:
    groupings = [LABELS, LABELS[::-1], [0, 0, 0, 1, 1, 2, 2]]
    expected = [*map(silhouette, groupings)]
    assert mean_silhouettes(DISTANCES, np.array(groupings)) == pytest.approx(expected)
    assert mean_silhouettes(DISTANCES / 100, np.array(groupings)) == pytest.approx(expected)
    assert mean_silhouettes(np.zeros((4, 4)), np.array([[0, 0, 1, 1]])).tolist() == [0.0]


def test_paired_comparison_sees_a_small_constant_difference() -> None:
    spread = np.linspace(0.05, 0.95, 60)
    found = compare_paired(spread, spread - 0.02)
    assert found.p_value == pytest.approx(1e-4)
    assert (found.better, found.worse) == (60, 0)
    assert 0 < found.low <= found.difference <= found.high


def test_paired_comparison_sees_no_difference() -> None:
    first = np.random.default_rng(0).random(60)
    found = compare_paired(first, first[::-1])
    assert found.p_value > 0.3
    assert found.low < 0 < found.high
    assert compare_paired(np.ones(30), np.ones(30)).p_value == 1.0


def test_paired_p_values_are_uniform_without_a_difference() -> None:
    generator = np.random.default_rng(0)
    found = np.array([compare_paired(*generator.random((2, 25))).p_value for _ in range(100)])
    assert 0.3 < found.mean() < 0.7
    assert (found < 0.1).mean() < 0.25
