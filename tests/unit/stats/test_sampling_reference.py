"""The reference filters against their definitions, written out token by token."""

from __future__ import annotations

import math

import pytest
import torch

from probes.engines.transformers import warpers
from probes.schema.sampling import Sampling
from probes.stats import sampling_reference as reference

SPREAD = [2.0, -1.0, 0.5, 3.0, 1.0]
EQUAL = [0.0, 0.0, 0.0, 0.0, -math.inf]
TIED = [1.0, 2.0, 1.0, 2.0, 0.0]
LOGITS = torch.tensor([[SPREAD, EQUAL], [TIED, [-each for each in SPREAD]]])
ROWS: list[list[float]] = LOGITS.reshape(-1, 5).tolist()


def softmax(row: list[float]) -> list[float]:
    weights = [math.exp(each) for each in row]
    return [each / sum(weights) for each in weights]


def k_most_likely(row: list[float], k: float) -> set[int]:
    least = sorted(row, reverse=True)[: int(k) or len(row)][-1]
    return {token for token, logit in enumerate(row) if logit >= least}


def nucleus(row: list[float], p: float) -> set[int]:
    mass, kept = 0.0, set[int]()
    for token in sorted(range(len(row)), key=lambda token: (-row[token], token)):
        if mass >= p:
            break
        kept.add(token)
        mass += softmax(row)[token]
    return kept


def share_of_the_most_likely(row: list[float], share: float) -> set[int]:
    found = softmax(row)
    return {token for token, chance in enumerate(found) if chance >= share * max(found)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("top_k", k) for k in (0, 1, 2, 3, 4, 5, 6)),
        *(("top_p", p) for p in (1e-9, 0.2, 0.25, 0.5, 0.6, 0.75, 0.9, 0.98, 1.0)),
        *(("min_p", share) for share in (0.0, 1e-9, 0.1, 0.3, 0.4, 0.9, 1.0)),
    ],
)
def test_filter_follows_its_definition(name: str, value: float) -> None:
    definition = {"top_k": k_most_likely, "top_p": nucleus, "min_p": share_of_the_most_likely}[name]
    found = getattr(reference, name)(LOGITS, value)
    for row, left in zip(ROWS, found.reshape(-1, 5).tolist(), strict=True):
        kept = definition(row, value)
        assert left == [row[i] if i in kept else -math.inf for i in range(5)]
    assert reference.count_kept(found).shape == (2, 2)


def test_top_p_of_one_keeps_unlikely_tokens() -> None:
    """Their mass is lost in the sum: before them it is 1 already."""
    logits = torch.tensor([[0.0, -200.0]])
    assert reference.top_p(logits, 1.0).equal(logits)
    assert warpers.apply(logits, Sampling(top_k=0, top_p=1.0)).equal(logits)


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0.5), ("top_k", 2), ("top_p", 0.5), ("min_p", 0.5)]
)
def test_filter_computes_in_float32_or_better(name: str, value: float) -> None:
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        found = getattr(reference, name)(LOGITS.to(dtype), value)
        assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_top_p_sums_in_float64() -> None:
    logits = torch.tensor([0.0, math.log(5e-10)])
    assert reference.count_kept(reference.top_p(logits, 1 - 1e-9)) == 1
    assert reference.count_kept(reference.top_p(logits, 1 - 1e-10)) == 2


# Each filter would keep another number of tokens if it came earlier or later.
COMPOSED = [
    (Sampling(temperature=2.0, top_k=0), 5),
    (Sampling(temperature=2.0, top_k=4), 4),
    (Sampling(temperature=2.0, top_k=4, top_p=0.75), 3),
    (Sampling(temperature=2.0, top_k=4, min_p=0.6), 3),
    (Sampling(temperature=2.0, top_k=0, top_p=0.95, min_p=0.4), 4),
]


@pytest.mark.parametrize(("sampling", "size"), COMPOSED)
def test_filters_are_applied_in_transformers_order(sampling: Sampling, size: int) -> None:
    logits = torch.tensor([[0.4, 0.3, 0.15, 0.1, 0.05], [0.05, 0.1, 0.15, 0.3, 0.4]]).log()
    before = logits.clone()
    found = reference.apply_filters(logits, sampling)
    assert reference.count_kept(found).tolist() == [size, size]
    assert warpers.apply(logits, sampling).allclose(found)
    assert logits.equal(before)


def test_top_k_defaults_to_fifty() -> None:
    falling = -torch.arange(60.0)
    assert reference.count_kept(reference.apply_filters(falling, Sampling())) == 50
    assert reference.count_kept(reference.apply_filters(falling, Sampling(top_k=0))) == 60


def test_log_probabilities_and_entropy_of_each_row() -> None:
    found = reference.log_probabilities(LOGITS)
    assert found.dtype == torch.float64
    expected = [softmax(row) for row in ROWS]
    for row, got in zip(expected, found.reshape(-1, 5).exp().tolist(), strict=True):
        assert got == pytest.approx(row, rel=1e-12)
    entropies = [-sum(p * math.log(p) for p in row if p > 0) for row in expected]
    assert reference.entropy(found).flatten().tolist() == pytest.approx(entropies, rel=1e-12)


def test_top_logits_keep_ties_with_the_last() -> None:
    values, tokens = reference.top_logits(
        torch.tensor([[1.0, 1.0, 1.0, 0.0], [3.0, 1.0, 2.0, 0.0]]), 2
    )
    assert values.tolist() == [[1.0, 1.0, 1.0], [3.0, 2.0, -math.inf]]
    assert tokens[1, :2].tolist() == [0, 2]
    assert reference.top_logits(torch.tensor([[1.0, 3.0]]), 0)[1].tolist() == [[1, 0]]


def test_top_logits_keep_many_ties() -> None:
    logits = torch.zeros(2, 40)
    logits[0, 7] = 1
    values, tokens = reference.top_logits(logits, 2)
    assert values.shape == (2, 40)
    assert tokens[0, 0] == 7
    assert reference.top_logits(logits[:1].double().square() + torch.arange(40), 2)[1].tolist() == [
        [39, 38]
    ]


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9, 0.999])
def test_nucleus_after_another_filter_is_that_of_what_it_kept(p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 400, generator=generator).mul(2).round()  # many ties
    kept = reference.top_k(logits, 20)
    found = reference.top_p(kept, p)
    for row, few in zip(kept, found, strict=True):
        places = row.isfinite().nonzero().flatten()
        assert few[places].equal(reference.top_p(row[places], p))
        assert reference.count_kept(few) == reference.count_kept(few[places])
