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

    from probes.stats.text_probability import path_log_probability

    for text, p in list(enumerated().items())[:20]:
        steps = torch.cat([toy([text[:n]]) for n in range(LENGTH)])
        assert math.exp(path_log_probability(steps, text)) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("ends", [(), (3,)])
def test_every_text_is_found_with_its_probability(ends: tuple[int, ...]) -> None:
    from probes.stats.text_probability import text_distribution

    wanted = enumerated(ends)
    found = text_distribution(toy, LENGTH, width=1000, ends=ends)
    got = dict(zip(found.ids, found.probabilities.tolist(), strict=True))
    assert got == pytest.approx(wanted, rel=1e-12)
    assert found.rest == 0.0


def test_agreement_and_expected_distinct_texts_are_the_sums_over_all_texts() -> None:
    from probes.stats.text_probability import text_distribution

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
    from probes.stats.text_probability import text_distribution

    chances = enumerated().values()
    found = text_distribution(toy, LENGTH, width=width)
    agree, distinct = found.agreement(), found.expected_distinct(5)
    tolerance = 1e-12
    assert agree.lower - tolerance <= sum(p**2 for p in chances) <= agree.upper + tolerance
    truth = sum(1 - (1 - p) ** 5 for p in chances)
    assert distinct.lower - tolerance <= truth <= distinct.upper + tolerance
    assert float(found.probabilities.sum()) + found.rest == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("runs", [1, 2, 3, 5])
def test_bounds_are_met_where_the_rest_lies_in_the_fewest_texts_or_in_countless_ones(
    runs: int,
) -> None:
    import torch

    from probes.stats.text_probability import TextDistribution

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
    # The rest in one text, whose largest possible mass came out larger by rounding.
    whole = of(0.5, 0.5).expected_distinct(runs).lower
    above = of(0.5, rest=0.5, largest=0.5000001).expected_distinct(runs)
    assert above.lower == pytest.approx(whole)
    assert above.upper <= runs


def test_agreement_is_of_two_runs_and_distinct_texts_are_of_five_unless_said() -> None:
    from probes.stats.text_probability import text_distribution

    found = text_distribution(toy, LENGTH, width=5)
    assert found.agreement() == found.agreement(2)
    assert found.expected_distinct() == found.expected_distinct(5)


def test_of_equally_likely_texts_the_lower_ids_are_followed_and_256_unless_said() -> None:
    import torch

    from probes.stats.text_probability import text_distribution

    def level(prefixes: list[tuple[int, ...]]) -> torch.Tensor:
        return torch.zeros(len(prefixes), 300).double().log_softmax(-1)

    found = text_distribution(level, length=1)
    assert found.ids == [(token,) for token in range(256)]
    assert found.rest == pytest.approx(44 / 300)
    assert found.largest_rest == pytest.approx(1 / 300)
    whole = text_distribution(level, length=1, width=300)
    assert (len(whole.ids), whole.rest, whole.largest_rest) == (300, 0.0, 0.0)


def test_texts_that_all_end_early_are_followed_no_further() -> None:
    from probes.stats.text_probability import text_distribution

    found = text_distribution(toy, LENGTH, ends=range(VOCABULARY))
    assert {len(ids) for ids in found.ids} == {1}
    assert (found.rest, found.largest_rest) == (0.0, 0.0)


def test_masses_are_added_in_float64_whatever_a_step_gives() -> None:
    import torch

    from probes.stats.text_probability import text_distribution

    coin = torch.tensor([0.1, 0.9]).log()
    found = text_distribution(lambda prefixes: coin.repeat(len(prefixes), 1), length=7)
    assert float(found.probabilities[-1].log()) == pytest.approx(7 * float(coin[0]), rel=1e-12)


def test_texts_of_the_embedded_model_come_as_often_as_computed() -> None:
    from collections import Counter

    import probes
    from probes.measure.decoding import possible_texts
    from probes.schema.sampling import Sampling
    from probes.stats.goodness_of_fit import goodness_of_fit

    model, sampling = probes.load("embedded"), Sampling(temperature=1.4, top_k=2)
    texts = possible_texts(model, "Once upon a time,", sampling, 3, width=8)
    drawn = model.generate(
        "Once upon a time,", sampling=sampling, num_return_sequences=200, seed=0, max_new_tokens=3
    )
    counts = Counter(map(tuple, drawn.ids))
    assert set(counts) <= set(texts.ids)
    fit = goodness_of_fit(
        [counts[ids] for ids in texts.ids], texts.probabilities.numpy(), min_expected=10
    )
    assert fit.good
