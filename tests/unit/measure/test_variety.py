"""How much samples vary and repeat, counted by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from probes.engines.base import Generation
from probes.measure import variety
from probes.measure.repetition import compare_repetition
from probes.measure.row_sampling import Sample, Samples
from probes.measure.variety import (
    Variety,
    combine,
    compare_variety,
    count_reproductions,
    p_value_of_larger,
)
from probes.schema.sampling import Sampling
from probes.stats.goodness_of_fit import poisson_binomial_cdf

PROBABILITIES = [[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]]


def generation(*samples: list[int], prompt_ids: tuple[int, ...] = (7,)) -> Generation:
    """Samples with the logits of `PROBABILITIES`, and scores without the first token."""
    logits = torch.tensor([PROBABILITIES] * len(samples)).log()
    scores = logits.clone()
    scores[..., 0] = -torch.inf
    return Generation([*prompt_ids], [*samples], [f"{ids}" for ids in samples], logits, scores)


def answering(*answers: Generation, calls: list[dict[str, Any]] | None = None) -> Any:
    """A model that answers every batch with the same generations."""

    def generate_batch(
        prompts: Any, *, logits_processor: Any = (), **arguments: Any
    ) -> list[Generation]:
        if calls is not None:
            calls.append(arguments)
        for processor in logits_processor:
            processor(torch.zeros(len(prompts), 1), torch.zeros(len(prompts), 3))
        return [*answers]

    return SimpleNamespace(generate_batch=generate_batch, vocab_size=3, eos_token_ids=[9])


def sampled(*rows: list[int]) -> list[Sample]:
    return [Sample(ids, str(ids), 0.0, 0.0) for ids in rows]


def test_comparison_stops_when_it_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(_: Any, __: Any, settings: Any, *, seed: int, **___: Any) -> Samples:
        calls.append(seed)
        means = {sampling: gap * sampling.temperature for sampling in settings}
        return {
            each: [[Sample([seed, i], "", mean + i % 3, -mean - i % 3) for i in range(12)]]
            for each, mean in means.items()
        }

    monkeypatch.setattr(variety, "sample_texts", draw)
    cold, hot = Sampling(temperature=0.5), Sampling(temperature=1.5)
    for gap, batches in ((9.0, 1), (0.9, 2), (0.0, 5)):
        calls: list[int] = []
        (found,) = compare_variety(SimpleNamespace(), ["P"], cold, hot, length=2, seed=7)
        assert calls == [7 + n for n in range(batches)]
        assert len(found.first.texts) == 12 * batches
        assert found.decided is (gap > 0)


@pytest.mark.parametrize(
    "samples",
    [
        [[2, 1, 1], [2, 1, 1]],  # 211. 11.2 1.21 .211 211.
        [[2, 1, 2], [2], [2]],  # 212. 12.2 2.2. .2.2 2.2.
    ],
)
def test_4_grams_that_samples_share_count_as_repeated(samples: list[list[int]]) -> None:
    assert combine(sampled(*samples)).distinct_4_grams == pytest.approx(4 / 5)


def test_summary_has_means_and_three_texts() -> None:
    found = Variety([*"abcd"], [1.0, 2.0, 6.0], [-1.0, -2.0, -6.0], 4, 0.5).summary()
    assert (found.entropies, found.log_likelihoods) == (3.0, -3.0)
    assert found.as_evidence()["texts"] == ["a", "b", "c"]


def test_p_value_of_larger_is_one_sided() -> None:
    larger, smaller = [3.0, 5.0, 4.0, 9.0], [2.0, 2.5, 3.0]
    one, other = p_value_of_larger(larger, smaller), p_value_of_larger(smaller, larger)
    assert one < 0.5 < other
    assert one + other == pytest.approx(1)
    assert p_value_of_larger([1.0, 1.0], [1.0, 1.0]) == 1.0


def drawing(*runs: list[list[int]], kept: int = 2) -> Any:
    """A model that gives each prompt's samples one after another, from so many tokens."""
    calls: list[tuple[int, ...]] = []
    left = dict(zip((7, 8), map(list, runs), strict=True))

    def generate_batch(
        prompts: list[list[int]], *, num_return_sequences: int = 1, **_: Any
    ) -> list[Generation]:
        calls.append((len(prompts), num_return_sequences))
        found = []
        for (prompt,) in prompts:
            rows = [left[prompt].pop(0) for _ in range(num_return_sequences)]
            scores = torch.full((len(rows), len(rows[0]), 3), -torch.inf)
            scores[..., :kept] = 0.0
            found.append(Generation([prompt], rows, [""] * len(rows), None, scores))
        return found

    return SimpleNamespace(generate_batch=generate_batch, calls=calls)


def test_reproductions_are_compared_with_exact_chances() -> None:
    sampling = Sampling(temperature=0.5, top_k=0)
    texts = [generation([0, 2, 1]), generation([2], prompt_ids=(8,))]
    model = drawing([[0, 2, 1], [0, 2, 2], [0, 2, 1]], [[2], [0], [2]])
    found = count_reproductions(model, texts, sampling, runs=3, seed=5)
    rows = [[p * p / sum(q * q for q in row) for p in row] for row in PROBABILITIES]
    chances = [rows[0][0] * rows[1][2] * rows[2][1]] * 3 + [rows[0][2]] * 3
    assert (found.runs, found.reproduced, model.calls) == (6, 4, [(2, 1), (2, 2)])
    assert found.expected == pytest.approx(sum(chances))
    assert found.p_value == pytest.approx(poisson_binomial_cdf(4, chances))


@pytest.mark.parametrize(("drawn", "reproduced"), [([2], 3), ([1], 0)])
def test_run_that_can_give_one_text_alone_counts_for_all(drawn: list[int], reproduced: int) -> None:
    model = drawing([[0, 2, 1]], [drawn], kept=1)
    texts = [generation([0, 2, 1]), generation([2], prompt_ids=(8,))]
    found = count_reproductions(model, texts, Sampling(top_k=0), runs=3, seed=5)
    assert (found.runs, found.reproduced, model.calls) == (6, 3 + reproduced, [(2, 1)])


def test_repetition_compares_samples_with_their_own_greedy_text() -> None:
    loop, late, free = [*range(6)] * 2, [5, 6, 7, 8] + [1, 2, 3, 4] * 2, [*range(12)]
    greedy = [Generation([1], [loop], ["loop"]), Generation([2], [free], ["free"])]
    model = answering(
        *(Generation([1], [ids], [""]) for ids in (late, free, loop)),
        *(Generation([2], [ids], [""]) for ids in (free, free, late)),
    )
    found = compare_repetition(model, greedy, samples=3, seed=4)
    # Of nine 4-grams the loop has 6 that differ, the late one 8, the free text 9.
    assert found.greedy_distinct == pytest.approx((6 + 9) / 18)
    assert found.sampled_distinct == pytest.approx((8 + 9 + 6 + 9 + 9 + 8) / 54)
    assert (found.greedy_repeating, found.sampled_repeating) == (1 / 2, 3 / 6)
    assert found.more_distinct == 2
    assert found.p_value == pytest.approx(1 - (1 + 6) / 64)  # two or more of six fair coins
    assert found.greedy_text == "loop"


@pytest.mark.parametrize(
    ("rows", "steps"),
    [
        ([[*range(10, 22)], [*range(10, 22)]], 7),  # four 4-grams of nine: more than a third
        ([[10] * 12, [*range(10, 22)]], 12),  # one that repeats itself is never decided
        ([[10, 10, 10, 10, 10, 10, 10, 10, 9, 0, 0, 0], [*range(10, 22)]], 9),  # one ends
    ],
)
def test_sampled_texts_end_once_each_has_more_than_the_greedy(
    rows: list[list[int]], steps: int
) -> None:
    greedy = [Generation([1], [[1, 2, 3] * 4], ["loop"])]  # three 4-grams of nine
    calls: list[dict[str, Any]] = []
    model = answering(*[generation([*range(12)])] * 2, calls=calls)
    compare_repetition(model, greedy, samples=2, seed=0)
    whole = torch.tensor([[1, *row] for row in rows])
    (stopping,) = calls[0]["stopping_criteria"]
    found = [stopping(whole[:, : 1 + n], None).tolist() for n in range(1, len(rows[0]) + 1)]
    assert found.index([True, True]) + 1 == steps if steps < 12 else [True, True] not in found
