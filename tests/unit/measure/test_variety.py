"""How much samples vary, counted by hand, and tests of it against enumeration."""

from __future__ import annotations

import math
from statistics import mean, variance
from typing import TYPE_CHECKING, Any, cast

import pytest
from scipy import stats

from probes.stats.goodness_of_fit import poisson_binomial_cdf

if TYPE_CHECKING:
    from probes.engines.base import Generation
    from probes.engines.transformers.engine import TransformersEngine as Model

ROWS = [[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]]


def generation(*samples: list[int], **more: Any) -> Generation:
    """Samples whose every step has the logits of `ROWS`, and scores without the first token."""
    import torch

    from probes.engines.base import Generation

    logits = torch.tensor([ROWS] * len(samples)).log()
    scores = logits.clone()
    scores[..., 0] = -torch.inf
    made = {
        "prompt_ids": [7],
        "ids": [*samples],
        "texts": [f"{ids}" for ids in samples],
        "logits": logits,
        "scores": scores,
    }
    return Generation(**{**made, **more})


class Asked:
    """A model that answers every batch alike and keeps what it was asked."""

    vocab_size = 3

    def __init__(self, *answers: Generation) -> None:
        self.answers = [*answers]
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    def generate_batch(self, prompts: Any, **arguments: Any) -> list[Generation]:
        self.calls.append((prompts, arguments))
        return self.answers


def measured(made: Generation) -> Any:
    from probes.measure.variety import of_samples
    from probes.schema.sampling import Sampling

    asked = Asked(made)
    (found,) = of_samples(
        cast("Model", asked), [[7]], Sampling(top_k=3), samples=4, length=9, seed=2
    )
    assert asked.calls == [
        (
            [[7]],
            {
                "sampling": Sampling(top_k=3),
                "seed": 2,
                "num_return_sequences": 4,
                "max_new_tokens": 9,
                "output_logits": True,
                "output_scores": True,
            },
        )
    ]
    return found


def test_a_sample_is_measured_over_its_own_steps_alone() -> None:
    found = measured(generation([2, 1, 1], [0]))
    assert found.texts == ["[2, 1, 1]", "[0]"]
    assert found.distinct_texts == 2
    likelihoods = [mean(map(math.log, (0.25, 0.1, 0.7))), math.log(0.5)]
    assert found.log_likelihoods == pytest.approx(likelihoods, rel=1e-6)
    halves = [[each / sum(row[1:]) for each in row[1:]] for row in ROWS]
    entropies = [-sum(p * math.log(p) for p in half) for half in halves]
    assert found.entropies == pytest.approx([mean(entropies), entropies[0]], rel=1e-6)


def test_many_samples_are_drawn_in_batches_that_go_on_with_the_random_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from probes.measure.variety import of_samples
    from probes.schema.sampling import Sampling

    monkeypatch.setattr("probes.measure.variety.LOGITS_AT_ONCE", 2 * 9 * 3)  # of two samples
    asked = Asked(generation([2, 1, 1], [0]))
    (found,) = of_samples(
        cast("Model", asked), [[7]], Sampling(top_k=3), samples=5, length=9, seed=2
    )
    assert [(each["num_return_sequences"], each["seed"]) for _, each in asked.calls] == [
        (2, 2),
        (2, None),
        (1, None),
    ]
    assert found.texts == ["[2, 1, 1]", "[0]"] * 3


def test_a_4_gram_that_two_samples_share_counts_as_repeated() -> None:
    """With the marks between: 2 1 1 . 2 1 1 . has the 4-grams 211., 11.2, 1.21, .211, 211."""
    found = measured(generation([2, 1, 1], [2, 1, 1]))
    assert found.distinct_texts == 1
    assert found.distinct_4_grams == pytest.approx(4 / 5)


def test_the_mark_between_samples_is_no_token() -> None:
    """2 1 2 . 2 . 2 . has the 4-grams 212., 12.2, 2.2., .2.2, 2.2."""
    assert measured(generation([2, 1, 2], [2], [2])).distinct_4_grams == pytest.approx(4 / 5)


@pytest.mark.parametrize("missing", ["logits", "scores"])
def test_samples_without_logits_or_scores_are_refused(missing: str) -> None:
    with pytest.raises(ValueError, match=r"^generate returned no logits or no scores$"):
        measured(generation([0], **{missing: None}))


def test_summary_has_means_and_three_texts() -> None:
    from probes.measure.variety import Variety

    found = Variety([*"abcd"], [1.0, 2.0, 6.0], [-1.0, -2.0, -6.0], 4, 0.5)
    assert found.summary().as_evidence() == {
        "texts": ["a", "b", "c"],
        "entropies": 3.0,
        "log_likelihoods": -3.0,
        "distinct_texts": 4,
        "distinct_4_grams": 0.5,
    }


def test_the_difference_of_means_is_tested_as_welch_says() -> None:
    from probes.measure.variety import p_value_of_larger

    larger, smaller = [3.0, 5.0, 4.0, 9.0], [2.0, 2.5, 3.0]
    parts = [variance(each) / len(each) for each in (larger, smaller)]
    t = (mean(larger) - mean(smaller)) / math.sqrt(sum(parts))
    df = sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 2)
    assert p_value_of_larger(larger, smaller) == pytest.approx(stats.t.sf(t, df))
    assert p_value_of_larger(smaller, larger) == pytest.approx(stats.t.cdf(t, df))


def test_runs_that_reproduce_are_counted_against_the_exact_chances_of_their_texts() -> None:
    from probes.measure.variety import runs_that_reproduce
    from probes.schema.sampling import Sampling

    sampling = Sampling(temperature=0.5, top_k=0)
    texts = [generation([0, 2, 1]), generation([2], prompt_ids=[8])]
    asked = Asked(generation([0, 2, 1], [0, 2, 2], [0, 2, 1]), generation([2], [0], [2]))
    found = runs_that_reproduce(cast("Model", asked), texts, sampling, runs=3, seed=5)
    assert asked.calls == [
        (
            [[7], [8]],
            {"sampling": sampling, "seed": 5, "num_return_sequences": 3, "max_new_tokens": 3},
        )
    ]
    first, second, third = ([p * p / sum(q * q for q in row) for p in row] for row in ROWS)
    chances = [first[0] * second[2] * third[1]] * 3 + [first[2]] * 3
    assert (found.runs, found.reproduced) == (6, 4)
    assert found.expected == pytest.approx(sum(chances))
    assert found.p_value == pytest.approx(poisson_binomial_cdf(4, chances))


def test_many_runs_are_drawn_in_batches_that_go_on_with_the_same_random_numbers() -> None:
    from probes.measure.variety import ROWS_AT_ONCE, runs_that_reproduce
    from probes.schema.sampling import Sampling

    texts = [generation([0, 2, 1]), generation([2], prompt_ids=[8])]
    asked = Asked(generation([0, 2, 1]), generation([2]))
    runs = ROWS_AT_ONCE + 1
    found = runs_that_reproduce(cast("Model", asked), texts, Sampling(), runs=runs, seed=5)
    half = ROWS_AT_ONCE // 2
    assert [(call["seed"], call["num_return_sequences"]) for _, call in asked.calls] == [
        (5, half),
        (None, half),
        (None, 1),
    ]
    assert (found.runs, found.reproduced) == (2 * runs, 2 * 3)
