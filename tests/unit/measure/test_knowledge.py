"""Probabilities of right answers against plain enumeration and against draws, on a toy model."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from probes.schema.sampling import Sampling
from probes.stats.answer_matching import MatchState

if TYPE_CHECKING:
    import torch

    from probes.measure.knowledge import Prefix

VOCABULARY, LENGTH, PROMPTS = 5, 4, 2
END = 3
SETTINGS = (
    Sampling(top_k=0),
    Sampling(temperature=0.3, top_p=0.5),
    Sampling(temperature=1.7, top_p=0.9),
    Sampling(temperature=0.9, top_k=2),
)


def logits(prefix: Prefix) -> torch.Tensor:
    """A model whose next token depends on the prompt and on all tokens before it."""
    import torch

    number, ids = prefix
    seed = 1000 * number + sum((place + 1) * (token + 1) for place, token in enumerate(ids))
    return 2 * torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed))


def step(prefixes: list[Prefix]) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest tokens first, as a step may give them."""
    import torch

    order = torch.stack([logits(prefix) for prefix in prefixes]).sort(dim=-1, descending=True)
    return order.values, order.indices


def judge(prefix: Prefix) -> MatchState:
    """Right if the second prompt's 4 or the first's 2 comes before the end."""
    number, ids = prefix
    if ids[-1] == (2, 4)[number]:
        return MatchState.RIGHT
    return MatchState.WRONG if ids[-1] == END or len(ids) == LENGTH else MatchState.OPEN


def enumerated(sampling: Sampling, number: int) -> float:
    """The same probability from every text, one by one."""
    from probes.stats import sampling_reference as filters

    right = 0.0
    for ids in itertools.product(range(VOCABULARY), repeat=LENGTH):
        p, fate = 1.0, MatchState.OPEN
        for place, token in enumerate(ids):
            p *= math.exp(filters.log_probabilities(logits((number, ids[:place])), sampling)[token])
            if fate is MatchState.OPEN:
                fate = judge((number, ids[: place + 1]))
        right += p * (fate is MatchState.RIGHT)
    return right


def test_the_sum_over_paths_is_that_over_all_texts() -> None:
    from probes.measure.knowledge import follow

    found = follow(step, judge, PROMPTS, SETTINGS, length=LENGTH, width=9999, least=0.0)
    wanted = [[enumerated(setting, number) for number in range(PROMPTS)] for setting in SETTINGS]
    assert found.right == pytest.approx(np.array(wanted), abs=1e-12)
    assert found.right + found.wrong == pytest.approx(np.ones((len(SETTINGS), PROMPTS)), abs=1e-12)
    assert found.upper == pytest.approx(found.right, abs=1e-12)


@pytest.mark.parametrize("width", [1, 2, 5, 20])
@pytest.mark.parametrize("least", [0.0, 0.01])
def test_bounds_enclose_the_truth_where_the_tree_is_cut(width: int, least: float) -> None:
    from probes.measure.knowledge import follow

    found = follow(step, judge, PROMPTS, SETTINGS, length=LENGTH, width=width, least=least)
    for row, setting in enumerate(SETTINGS):
        for number in range(PROMPTS):
            truth = enumerated(setting, number)
            assert found.right[row, number] <= truth + 1e-12
            assert truth - 1e-12 <= found.upper[row, number]


def test_draws_are_right_as_often_as_computed() -> None:
    import torch

    from probes.measure.knowledge import follow
    from probes.stats import sampling_reference as filters

    found = follow(step, judge, PROMPTS, SETTINGS, length=LENGTH, width=9999)
    draws, chance = 2000, torch.Generator().manual_seed(0)
    for row, setting in enumerate(SETTINGS):
        right = 0
        for _ in range(draws):
            ids: tuple[int, ...] = ()
            while not ids or judge((0, ids)) is MatchState.OPEN:
                law = filters.log_probabilities(logits((0, ids)), setting).exp()
                ids = (*ids, int(law.multinomial(1, generator=chance)))
            right += judge((0, ids)) is MatchState.RIGHT
        p = found.right[row, 0]
        assert abs(right - draws * p) <= 5 * math.sqrt(draws * p * (1 - p)) + 1e-6


def test_a_step_is_asked_once_a_level_for_all_prompts_and_settings() -> None:
    from probes.measure.knowledge import follow

    asked = []

    def counting(prefixes: list[Prefix]) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(len(prefixes))
        return step(prefixes)

    follow(counting, judge, PROMPTS, SETTINGS, length=LENGTH, width=3)
    assert asked == [2, 3, 3, 3]


def test_likeliest_keeps_ties_with_the_last_and_fills_the_others() -> None:
    import torch

    from probes.measure.knowledge import likeliest

    values, tokens = likeliest(torch.tensor([[1.0, 1.0, 1.0, 0.0], [3.0, 1.0, 2.0, 0.0]]), 2)
    assert values.tolist() == [[1.0, 1.0, 1.0], [3.0, 2.0, -math.inf]]
    assert tokens[1, :2].tolist() == [0, 2]


def test_likeliest_of_all_keeps_all() -> None:
    import torch

    from probes.measure.knowledge import likeliest

    assert likeliest(torch.tensor([[1.0, 3.0]]), 0)[1].tolist() == [[1, 0]]


def test_text_grows_token_by_token_as_it_would_be_decoded() -> None:
    import probes
    from probes.measure.knowledge import Reader

    model = probes.load("embedded")
    reader = Reader(model)
    for text in ("It is Tokyo. 日本", "Zürich, Ö", "a  b\n\nc", "🗼 tower"):
        ids = tuple(model.encode(text, add_special_tokens=False))
        assert reader.text(ids).strip() == text


def test_paired_sees_a_difference_that_is_small_beside_the_spread() -> None:
    from probes.measure.knowledge import paired

    spread = np.linspace(0.05, 0.95, 60)
    found = paired(spread, spread - 0.02)
    assert found.p_value == pytest.approx(1e-4)
    assert (found.better, found.worse) == (60, 0)
    assert 0 < found.low <= found.difference <= found.high


def test_paired_sees_none_where_there_is_none() -> None:
    from probes.measure.knowledge import paired

    first = np.random.default_rng(0).random(60)
    found = paired(first, first[::-1])
    assert found.p_value > 0.3
    assert found.low < 0 < found.high


def test_the_p_value_of_paired_settings_is_uniform_under_no_difference() -> None:
    from probes.measure.knowledge import paired

    chance = np.random.default_rng(0)
    found = [paired(*chance.random((2, 25))).p_value for _ in range(100)]
    assert 0.3 < np.mean(found) < 0.7
    assert np.mean(np.array(found) < 0.1) < 0.25
