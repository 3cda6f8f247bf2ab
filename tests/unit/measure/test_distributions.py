from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from probes.measure.distribution import largest_error, measure_distribution, most_likely
from probes.schema.evidence.distributions import Token
from probes.schema.sampling import Sampling


def model(logits: torch.Tensor, encoded: Mapping[str, list[int]] | None = None) -> Any:
    """A model whose last row of logits is the one that counts."""

    def encode(text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [1] * add_special_tokens + (encoded or {})[text]

    parts: dict[str, Any] = {
        "logits": lambda prompt: torch.stack([-logits, *[-logits] * len(prompt), logits]),
        "decode": lambda ids: f"<{ids[0]}>",
        "encode": encode,
    }
    return SimpleNamespace(**parts)


def falling(size: int) -> torch.Tensor:
    """Logits that fall by less and less, in another order than the ids."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    return torch.arange(1.0, size + 1).log().neg()[order]


@pytest.mark.parametrize(
    ("size", "step"), [(3, 1), (500, 1), (501, 1), (1000, 1), (1001, 2), (1500, 2), (1501, 3)]
)
def test_head_is_whole_and_tail_in_equal_steps(size: int, step: int) -> None:
    logits = falling(size)
    in_order = np.sort(logits.double().numpy())[::-1]
    found = measure_distribution(model(logits), "P")
    assert (found.prompt, found.answer, found.vocabulary) == ("P", None, size)
    assert found.step == step
    assert found.head == pytest.approx(in_order[:500], abs=6e-5)
    ranks = [*range(500, size, step)]
    if ranks and ranks[-1] != size - 1:
        ranks.append(size - 1)
    assert found.tail == pytest.approx(in_order[ranks], abs=6e-5)
    assert found.logits() == pytest.approx(in_order, abs=1e-4)


def test_most_likely_tokens_are_listed_by_logit_and_id() -> None:
    logits = falling(300)
    found = measure_distribution(model(logits), "P")
    ids = logits.argsort(descending=True)[:200].tolist()
    assert found.top == [Token(id=i, text=f"<{i}>", logit=round(float(logits[i]), 4)) for i in ids]
    assert found.head[1] == -0.6931  # four decimals
    level = measure_distribution(model(torch.arange(300.0) % 3), "P")
    assert [token.id for token in level.top] == [*range(2, 300, 3), *range(1, 300, 3)]


def test_impossible_tokens_are_left_out() -> None:
    found = measure_distribution(model(torch.tensor([-torch.inf, 1.0, 2.0, -torch.inf])), "P")
    assert (found.vocabulary, found.head, found.tail) == (2, [2.0, 1.0], [])


@pytest.mark.parametrize(
    ("encoded", "first"),
    [
        ({"P ": [2], "P Tokyo": [2, 7, 8], "Tokyo": [9, 4, 5]}, 7),
        ({"P ": [2], "P Tokyo": [3, 7, 8], "Tokyo": [9, 4, 5]}, 9),
    ],
    ids=["that follows the prompt's ids", "alone, where the prompt ends in the midst of a piece"],
)
def test_answer_is_its_first_token(encoded: dict[str, list[int]], first: int) -> None:
    assert measure_distribution(model(falling(3), encoded), "P ", "Tokyo").answer == first


def test_largest_error_is_over_listed_tokens() -> None:
    whole = model(torch.tensor([0.4, 0.1, 0.3, 0.2]).log())
    kept = measure_distribution(whole, "P")
    assert largest_error(whole, kept, Sampling(temperature=2.0, top_k=0)) < 1e-4
    even = kept.model_copy(update={"head": [0.0] * 4})
    assert largest_error(whole, even, Sampling(top_k=0)) == pytest.approx(0.15)
    listed = even.model_copy(update={"top": even.top[1:3]})
    assert largest_error(whole, listed, Sampling(top_k=0)) == pytest.approx(0.05, abs=1e-4)


def test_most_likely_tokens_come_in_order() -> None:
    logits = torch.arange(20.0)
    found = most_likely(model(logits), "P")
    assert [(each.id, each.text) for each in found] == [(i, f"<{i}>") for i in range(19, 9, -1)]
    chances = logits.double().softmax(-1).tolist()
    assert [each.probability for each in found] == pytest.approx(chances[:9:-1])
    assert [each.id for each in most_likely(model(logits[:3]), "P")] == [2, 1, 0]
