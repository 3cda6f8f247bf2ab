"""Exact probabilities against plain enumeration, on a toy model with a vocabulary of 5."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch

VOCABULARY = 5
LENGTH = 4


def toy(prefixes: list[tuple[int, ...]]) -> torch.Tensor:
    """A model whose next token depends on all tokens before it, with one that never comes."""
    import torch

    rows = []
    for prefix in prefixes:
        seed = sum((place + 1) * (token + 1) for place, token in enumerate(prefix))
        logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)).double()
        logits[seed % VOCABULARY] = -torch.inf
        rows.append(2 * logits)
    return torch.stack(rows).log_softmax(dim=-1)


def enumerated(ends: tuple[int, ...] = ()) -> dict[tuple[int, ...], float]:
    """Every text and its probability, one by one."""
    texts: dict[tuple[int, ...], float] = {}
    for ids in itertools.product(range(VOCABULARY), repeat=LENGTH):
        p, text = 1.0, list[int]()
        for token in ids:
            p *= math.exp(float(toy([tuple(text)])[0, token]))
            text.append(token)
            if token in ends:
                break
        texts[tuple(text)] = p
    return {text: p for text, p in texts.items() if p > 0}


def test_probability_of_a_path_is_the_product_over_its_steps() -> None:
    import torch

    from probes.exact import path_log_probability

    for text, p in list(enumerated().items())[:20]:
        steps = torch.cat([toy([text[:n]]) for n in range(LENGTH)])
        assert math.exp(path_log_probability(steps, text)) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("ends", [(), (3,)])
def test_every_text_is_found_with_its_probability(ends: tuple[int, ...]) -> None:
    from probes.exact import text_distribution

    wanted = enumerated(ends)
    found = text_distribution(toy, LENGTH, width=1000, ends=ends)
    got = dict(zip(found.ids, found.probabilities.tolist(), strict=True))
    assert got == pytest.approx(wanted, rel=1e-12)
    assert found.rest == 0.0


def test_agreement_and_expected_distinct_texts_are_the_sums_over_all_texts() -> None:
    from probes.exact import text_distribution

    chances = enumerated().values()
    found = text_distribution(toy, LENGTH, width=1000)
    assert found.agreement().lower == pytest.approx(sum(p**2 for p in chances), rel=1e-12)
    assert found.agreement(5).lower == pytest.approx(sum(p**5 for p in chances), rel=1e-12)
    distinct = sum(1 - (1 - p) ** 5 for p in chances)
    assert found.expected_distinct(5).lower == pytest.approx(distinct, rel=1e-12)
    assert found.agreement().exact
    assert found.expected_distinct().exact


@pytest.mark.parametrize("width", [1, 2, 5, 20, 100])
def test_bounds_enclose_the_truth_where_the_tree_is_cut(width: int) -> None:
    from probes.exact import text_distribution

    chances = enumerated().values()
    found = text_distribution(toy, LENGTH, width=width)
    agree, distinct = found.agreement(), found.expected_distinct(5)
    tolerance = 1e-12
    assert agree.lower - tolerance <= sum(p**2 for p in chances) <= agree.upper + tolerance
    truth = sum(1 - (1 - p) ** 5 for p in chances)
    assert distinct.lower - tolerance <= truth <= distinct.upper + tolerance
    assert float(found.probabilities.sum()) + found.rest == pytest.approx(1, abs=1e-12)


def test_texts_of_the_embedded_model_come_as_often_as_computed() -> None:
    from collections import Counter

    import probes
    from probes.decoding import possible_texts
    from probes.goodness import goodness_of_fit
    from probes.sampling import Sampling

    model, sampling = probes.load("embedded"), Sampling(temperature=1.4, top_k=2)
    texts = possible_texts(model, "Once upon a time,", sampling, 3, width=8)
    drawn = model.generate(
        "Once upon a time,", sampling=sampling, samples=200, seed=0, max_new_tokens=3
    )
    counts = Counter(map(tuple, drawn.ids))
    assert set(counts) <= set(texts.ids)
    fit = goodness_of_fit(
        [counts[ids] for ids in texts.ids], texts.probabilities.numpy(), min_expected=10
    )
    assert fit.good
