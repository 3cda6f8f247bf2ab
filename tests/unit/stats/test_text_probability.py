"""Exact probabilities against plain enumeration, on a toy model with a vocabulary of 5."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch

from probes.stats.text_probability import TextDistribution, enumerate_texts

VOCAB_SIZE = 5
LENGTH = 4


def step(prefixes: list[tuple[int, ...]]) -> torch.Tensor:
    """The next token depends on all tokens before it, and one never comes."""
    rows = []
    for prefix in prefixes:
        seed = sum((place + 1) * (token + 1) for place, token in enumerate(prefix))
        logits = torch.randn(VOCAB_SIZE, generator=torch.Generator().manual_seed(seed)).double()
        logits[seed % VOCAB_SIZE] = -torch.inf
        rows.append(2 * logits)
    return torch.stack(rows).log_softmax(dim=-1)


def enumerate_one_by_one(ends: Sequence[int] = ()) -> dict[tuple[int, ...], float]:
    texts: dict[tuple[int, ...], float] = {}
    for ids in itertools.product(range(VOCAB_SIZE), repeat=LENGTH):
        p, text = 1.0, list[int]()
        for token in ids:
            p *= math.exp(float(step([tuple(text)])[0, token]))
            text.append(token)
            if token in ends:
                break
        texts[tuple(text)] = p
    return {text: p for text, p in texts.items() if p > 0}


TEXTS = enumerate_one_by_one()


@pytest.mark.parametrize("ends", [(), (3,), range(VOCAB_SIZE)])
def test_every_text_is_found_with_its_probability(ends: Sequence[int]) -> None:
    found = enumerate_texts(step, LENGTH, width=1000, eos_token_ids=ends)
    got = dict(zip(found.ids, found.probabilities.tolist(), strict=True))
    assert got == pytest.approx(enumerate_one_by_one(ends), rel=1e-12)
    assert (found.rest, found.largest_rest) == (0.0, 0.0)


@pytest.mark.parametrize("width", [1, 2, 5, 20, 100, 1000])
def test_bounds_enclose_the_truth(width: int) -> None:
    found = enumerate_texts(step, LENGTH, width=width)
    for bounds, truth in (
        (found.agreement(), sum(p**2 for p in TEXTS.values())),
        (found.agreement(5), sum(p**5 for p in TEXTS.values())),
        (found.expected_distinct(), sum(1 - (1 - p) ** 5 for p in TEXTS.values())),
    ):
        assert bounds.lower - 1e-12 <= truth <= bounds.upper + 1e-12
        assert bounds.exact or width < 1000
    assert float(found.probabilities.sum()) + found.rest == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("runs", [1, 2, 3, 5])
def test_bounds_are_tight_at_the_extremes(runs: int) -> None:
    """The rest lies in the fewest possible texts, or in very many."""

    def of(*chances: float, rest: float = 0.0, largest: float = 0.0) -> TextDistribution:
        ids: list[tuple[int, ...]] = [(token,) for token in range(len(chances))]
        return TextDistribution(ids, torch.tensor(chances).double(), rest, largest)

    cut, few, many = of(0.5, rest=0.5, largest=0.25), of(0.5, 0.25, 0.25), of(0.5, *[5e-5] * 10**4)
    agree, distinct = cut.agreement(runs), cut.expected_distinct(runs)
    assert agree.upper == pytest.approx(few.agreement(runs).upper)
    assert distinct.lower == pytest.approx(few.expected_distinct(runs).lower)
    assert distinct.upper == pytest.approx(many.expected_distinct(runs).upper, rel=1e-3)
    if runs > 1:  # one run agrees with itself
        assert agree.lower == pytest.approx(many.agreement(runs).lower, rel=1e-3)
    # The rest in one text, whose largest possible mass is too large by rounding.
    above = of(0.5, rest=0.5, largest=0.5000001).expected_distinct(runs)
    assert above.lower == pytest.approx(of(0.5, 0.5).expected_distinct(runs).lower)
    assert above.upper <= runs


def test_equally_likely_texts_are_followed_by_id() -> None:
    def uniform(prefixes: list[tuple[int, ...]]) -> torch.Tensor:
        return torch.zeros(len(prefixes), 300).double().log_softmax(-1)

    found = enumerate_texts(uniform, length=1, width=256)
    assert found.ids == [(token,) for token in range(256)]
    assert found.rest == pytest.approx(44 / 300)
    assert found.largest_rest == pytest.approx(1 / 300)
