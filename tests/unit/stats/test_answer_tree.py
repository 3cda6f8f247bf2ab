"""Probabilities of right answers against plain enumeration, on a toy distribution."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from probes.schema.sampling import Sampling
from probes.stats import sampling_reference
from probes.stats.answer_matching import MatchState
from probes.stats.answer_tree import Floats, Prefix, draw_right, follow_continuations

VOCAB_SIZE, LENGTH, PROMPTS, END = 5, 4, 2, 3
SETTINGS = (
    Sampling(top_k=0),
    Sampling(temperature=0.3, top_p=0.5),
    Sampling(temperature=1.7, top_p=0.9),
    Sampling(temperature=0.9, top_k=2),
)


def next_logits(prefix: Prefix) -> torch.Tensor:
    """Logits that depend on the prompt and on all tokens before."""
    number, ids = prefix
    seed = 1000 * number + sum((place + 1) * (token + 1) for place, token in enumerate(ids))
    return 2 * torch.randn(VOCAB_SIZE, generator=torch.Generator().manual_seed(seed))


def step(prefixes: list[Prefix]) -> tuple[torch.Tensor, torch.Tensor]:
    order = torch.stack([next_logits(prefix) for prefix in prefixes]).sort(descending=True)
    return order.values, order.indices


def match(prefix: Prefix) -> MatchState:
    """Right if the first prompt's 2 or the second's 4 comes before the end."""
    number, ids = prefix
    if ids[-1] == (2, 4)[number]:
        return MatchState.RIGHT
    return MatchState.WRONG if ids[-1] == END or len(ids) == LENGTH else MatchState.OPEN


def enumerate_right(sampling: Sampling, number: int) -> float:
    right = 0.0
    for ids in itertools.product(range(VOCAB_SIZE), repeat=LENGTH):
        p, state = 1.0, MatchState.OPEN
        for place, token in enumerate(ids):
            law = sampling_reference.log_probabilities(next_logits((number, ids[:place])), sampling)
            p *= math.exp(law[token])
            if state is MatchState.OPEN:
                state = match((number, ids[: place + 1]))
        right += p * (state is MatchState.RIGHT)
    return right


@pytest.fixture(scope="module")
def truth() -> Floats:
    rows = [[enumerate_right(each, number) for number in range(PROMPTS)] for each in SETTINGS]
    return np.array(rows)


def test_whole_tree_gives_the_exact_probability(truth: Floats) -> None:
    found = follow_continuations(
        step, match, PROMPTS, SETTINGS, length=LENGTH, width=9999, min_probability=0.0
    )
    assert found.right == pytest.approx(truth, abs=1e-12)
    assert found.right + found.wrong == pytest.approx(np.ones((len(SETTINGS), PROMPTS)), abs=1e-12)


@pytest.mark.parametrize("width", [1, 2, 5, 20])
@pytest.mark.parametrize("least", [0.0, 0.01])
def test_bounds_of_a_cut_tree_enclose_it(width: int, least: float, truth: Floats) -> None:
    found = follow_continuations(
        step, match, PROMPTS, SETTINGS, length=LENGTH, width=width, min_probability=least
    )
    for setting, row in zip(SETTINGS, truth, strict=True):
        assert (found.lower(setting) <= row + 1e-12).all()
        assert (row - 1e-12 <= found.upper(setting)).all()


@pytest.mark.parametrize("place", range(len(SETTINGS)))
def test_drawn_answers_are_right_as_often_as_the_tree_says(place: int, truth: Floats) -> None:
    runs, generator = 2_000, torch.Generator().manual_seed(place)
    right = draw_right(
        step, match, PROMPTS, SETTINGS[place], runs=runs, length=LENGTH, generator=generator
    )
    for count, p in zip(right, truth[place], strict=True):
        assert abs(count - runs * p) <= 5 * math.sqrt(runs * p * (1 - p))
