"""Distances of distributions by independent formulas, and the coverage of their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from scipy.spatial import distance

from probes.stats import distribution_distance as distances
from tests.benchmarks.interval_coverage import QUANTITIES, count_covered

TEXTS, WINDOWS, POSITIONS = 2, 6, 50


@pytest.fixture(scope="module")
def stored() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of a reference, those of another model, and the ids that follow: (windows, …)."""
    draw = np.random.default_rng(5)
    reference = 3 * draw.standard_normal((TEXTS * WINDOWS, POSITIONS, 40))
    other = reference + 0.3 * draw.standard_normal(reference.shape)
    return reference, other, draw.integers(40, size=reference.shape[:2])


def by_text(values: np.ndarray) -> list[list[np.ndarray]]:
    return [list(part) for part in np.split(values, TEXTS)]


def test_statistics_are_those_of_independent_formulas(
    stored: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    reference, other, ids = stored
    found = [
        distances.compare_logits(*(torch.from_numpy(each[w]) for each in stored))
        for w in range(len(ids))
    ]
    divergence = np.array([each.divergence for each in found])
    p, q = (special.softmax(each, axis=-1) for each in (reference, other))
    np.testing.assert_allclose(divergence, special.rel_entr(p, q).sum(axis=-1), rtol=1e-9)
    # Jensen and Shannon's distance, by another path of scipy, bounds it from below.
    assert (divergence >= 2 * distance.jensenshannon(p, q, axis=-1) ** 2).all()
    p_next, q_next = (np.take_along_axis(each, ids[..., None], -1)[..., 0] for each in (p, q))
    change = np.array([each.probability_change for each in found])
    np.testing.assert_allclose(change, q_next - p_next, atol=1e-12)
    ratio = distances.estimate_ratio(by_text(np.array([each.log_ratio for each in found])))
    assert ratio is not None
    expected = np.exp(-np.log(q_next).mean()) / np.exp(-np.log(p_next).mean())
    assert ratio.value == pytest.approx(expected)
    root = distances.estimate_root(by_text(change**2))
    assert root is not None
    assert root.value == pytest.approx(np.linalg.norm(q_next - p_next) / change.size**0.5)
    same = distances.estimate_share(by_text(np.array([each.same_top for each in found])))
    assert same is not None
    assert same.value == (p.argmax(-1) == q.argmax(-1)).mean()
    error = distances.error_over_positions(by_text(divergence))
    assert error == pytest.approx(stats.sem(divergence, axis=None))


def test_percentiles_interpolate_as_llama_cpp_does() -> None:
    values = np.random.default_rng(1).permutation(np.arange(60_000.0) ** 2)
    for percent in distances.PERCENTILES:
        found = distances.estimate_percentile(by_text(values.reshape(12, 5000)), percent)
        place = percent / 100 * 59_999
        below, part = int(place), place - int(place)
        expected = (1 - part) * below**2 + part * (below + 1) ** 2
        assert found is not None
        assert found.value == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.999])
def test_share_of_independent_positions_has_clopper_and_pearsons_interval(share: float) -> None:
    # As many hits in each window: less variance than chance, which is not trusted.
    hits = np.zeros((TEXTS * 500, 1000))
    hits[:, : int(share * 1000)] = 1.0
    found = distances.estimate_share(by_text(hits))
    exact = stats.binomtest(int(hits.sum()), hits.size).proportion_ci(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-4)


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("windows", [2, 3, 8])
def test_intervals_cover_what_correlated_positions_are_drawn_from(
    quantity: str, windows: int
) -> None:
    covered, stated = count_covered(quantity, 300, texts=2, windows=windows, correlation=0.1)
    assert stated > 30
    # 95 %, less three standard deviations of as many draws.
    assert covered / stated > 0.95 - 3 * (0.95 * 0.05 / stated) ** 0.5, f"{covered} of {stated}"


def test_percentiles_are_too_few_where_one_window_has_all_that_is_beyond() -> None:
    values = np.random.default_rng(3).random((40, 255))
    assert distances.estimate_percentile([list(values)], 99.9) is not None
    values[7, :20] += 5.0
    assert distances.estimate_percentile([list(values)], 99.9) is None
    assert distances.estimate_percentile([list(values)], 50) is not None


def test_one_window_has_no_interval() -> None:
    assert distances.estimate_mean([[np.ones(9)]]) is None
    assert distances.estimate_share([[np.ones(9)]]) is None


def test_smallest_rate_of_lost_answers_is_shown_as_often_as_said() -> None:
    rate = distances.smallest_shown(66)
    assert rate is not None
    shown = [k for k in range(67) if stats.binomtest(k, max(1, k)).pvalue < 0.05]
    assert shown[0] == 6
    assert stats.binom.sf(5, 66, rate) == pytest.approx(0.95)


def test_least_divergence_is_below_the_whole() -> None:
    draw = np.random.default_rng(4)
    p, q = special.log_softmax(draw.standard_normal((2, 100)) * 3, axis=-1)
    whole = special.rel_entr(np.exp(p), np.exp(q)).sum()
    for top in (1, 5, 50):
        order = np.argsort(-q)[:top]
        assert distances.least_divergence(q[order], p[order]) <= whole + 1e-12


def test_least_divergence_of_a_law_from_itself_is_zero_where_lists_sum_to_more_than_1() -> None:
    law = [math.log(each) for each in (0.9, 0.09, 0.0099)]  # and one that is not listed
    listed = [each + math.log(1.0002) for each in law]
    assert distances.least_divergence(listed, law) > 1e-4
    rounded = distances.measure_excess([listed])
    assert distances.least_divergence(listed, law, rounded) < 1e-9
