"""The comparison of the library's filters with the reference, on logits written by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from probes.engines.base import Generation
from probes.measure.sampling_filters import (
    FilterStep,
    ScoredSample,
    compare_filters,
    measure_nuclei,
    probability_kept,
    sample_with_scores,
)
from probes.schema.sampling import Sampling

PROBABILITIES = [0.4, 0.3, 0.2, 0.1]


def compare(kept: Sequence[int], scale: float = 1.0, **settings: Any) -> FilterStep:
    """Compare what a library left that divides by the temperature and keeps these tokens."""
    logits = torch.tensor([PROBABILITIES]).log()
    sampling = Sampling(**{"top_k": 0, **settings})
    scores = torch.full_like(logits, -torch.inf)
    scores[:, [*kept]] = scale * logits[:, [*kept]] / sampling.temperature
    (step,) = compare_filters(logits, scores, sampling)
    return step


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, 4),
        ({"temperature": 2.0}, 4),
        ({"top_k": 2}, 2),
        ({"top_p": 0.8}, 3),
        ({"min_p": 0.4}, 3),
        ({"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.3}, 2),
    ],
)
def test_library_must_keep_the_right_number(settings: dict[str, Any], kept: int) -> None:
    for number in range(1, 5):
        step = compare(range(number), **settings)
        assert (step.kept, step.fewest, step.most) == (number, kept, kept)
        assert step.likeliest
        assert step.largest_error == 0
        assert step.as_expected == (number == kept)


def test_score_error_is_relative_to_the_largest_kept() -> None:
    wrong = compare([0, 1, 2], top_k=3, scale=1.01)
    assert wrong.largest_error == pytest.approx(0.01, rel=1e-4)
    small = compare([0], top_k=1, scale=1.01)  # relative to 1 at least
    assert small.largest_error == pytest.approx(0.01 * abs(math.log(0.4)), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "fewest", "most"),
    [
        ({"top_p": 0.7 - 9e-6}, 2, 3),
        ({"top_p": 0.7 + 9e-6}, 2, 3),
        ({"top_p": 0.7 - 2e-5}, 2, 2),
        ({"top_p": 0.7 + 2e-5}, 3, 3),
        ({"min_p": 0.5 - 9e-6}, 2, 3),
        ({"min_p": 0.5 + 9e-6}, 2, 3),
        ({"min_p": 0.5 - 2e-5}, 3, 3),
        ({"min_p": 0.5 + 2e-5}, 2, 2),
        ({"top_p": 1e-13}, 1, 1),
        ({"top_p": 1.0}, 4, 4),
        ({"min_p": 0.0}, 4, 4),
        ({"min_p": 1.0}, 1, 1),
    ],
)
def test_rounding_decides_only_at_the_edge(
    settings: dict[str, Any], fewest: int, most: int
) -> None:
    step = compare([0], **settings)
    assert (step.fewest, step.most) == (fewest, most)


@pytest.mark.parametrize("kept", [[0, 1], [0, 3]])
def test_library_may_drop_any_of_equally_likely_tokens(kept: list[int]) -> None:
    logits = torch.tensor([[0.4, 0.2, 0.2, 0.2]]).log()
    scores = torch.full_like(logits, -torch.inf)
    scores[:, kept] = logits[:, kept]
    (step,) = compare_filters(logits, scores, Sampling(top_k=0, top_p=0.5))
    assert step.as_expected


@pytest.mark.parametrize(
    ("changes", "description"),
    [
        ({"kept": 3}, ""),
        ({"kept": 5, "largest_error": 0.99e-5}, ""),
        ({"kept": 4, "most": 3}, "tokens kept: 4, not 3"),
        ({"largest_error": math.nan}, "a score is off by nan of the largest"),
        (
            {"kept": 6, "likeliest": False, "largest_error": 1e-5},
            "tokens kept: 6, not 3 to 5; a dropped token is likelier than a kept one; "
            "a score is off by 1e-05 of the largest",
        ),
    ],
)
def test_step_describes_its_errors(changes: dict[str, Any], description: str) -> None:
    right = FilterStep(kept=4, fewest=3, most=5, likeliest=True, largest_error=0.0)
    step = replace(right, **changes)
    assert step.describe_errors() == description
    assert step.as_expected is (not description)


def test_steps_are_compared_one_by_one() -> None:
    """A hundred added to every logit of the second changes its scale only."""
    logits = torch.tensor([PROBABILITIES, PROBABILITIES[::-1]]).log()
    logits += torch.tensor([[0.0], [100.0]])
    scores = logits.clone()
    scores[0, 3] = scores[1, 0] = -torch.inf
    scores[0, 2] += 0.1
    one, other = compare_filters(logits, scores, Sampling(top_k=3))
    assert (one.kept, one.likeliest) == (other.kept, other.likeliest) == (3, True)
    assert one.largest_error == pytest.approx(0.1 / -math.log(0.2), rel=1e-4)
    assert (other.largest_error, other.as_expected) == (0, True)


def test_probability_kept_is_that_of_the_first_step() -> None:
    logits = torch.tensor([PROBABILITIES, [0.25] * 4]).log()
    scores = logits.clone()
    scores[0, 2:] = -torch.inf
    text = ScoredSample([0, 0], "", logits, scores)
    assert probability_kept(text, 1.0) == pytest.approx(0.7)
    squares = [p * p for p in PROBABILITIES]
    assert probability_kept(text, 0.5) == pytest.approx(sum(squares[:2]) / sum(squares))


def generating(generation: Generation) -> Any:
    """A model that always generates the same."""
    return SimpleNamespace(generate=lambda *_, **__: generation)


def test_sampled_text_has_a_row_for_each_token() -> None:
    both = torch.zeros(2, 1, 3, 4)
    generation = Generation([7], [[2, 1]], ["?"], *both)
    found = sample_with_scores(generating(generation), "P", 5, seed=3, top_k=2)
    assert (found.ids, found.text) == ([2, 1], "?")
    assert found.logits.shape == found.scores.shape == (2, 4)


def test_nuclei_are_sorted_by_entropy() -> None:
    rows = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.97, 0.01, 0.01, 0.01], [0.6, 0.3, 0.05, 0.05]])
    text = Generation([7], [[0, 0, 0]], ["?"], logits=rows.log()[None])
    found = measure_nuclei([text, text], 0.85)
    entropies = sorted(-sum(p * math.log(p) for p in row) for row in rows.tolist() * 2)
    assert found.p == 0.85
    assert found.entropies == pytest.approx(entropies)
    assert found.sizes == [1, 1, 2, 2, 3, 3]
    assert found.rank_correlation == pytest.approx(1)
