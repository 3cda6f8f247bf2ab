"""Greedy and beam-search texts, on a model whose every distribution can be enumerated."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from probes.engines.base import Generation
from probes.engines.toy import EOS, TOKENS, ToyEngine, make_up_logits
from probes.measure.greedy import (
    count_steps_without_tie,
    log_likelihood,
    probability_of_greedy,
    recompute_text,
    search_beams,
    step_logits,
    truncate,
)
from probes.measure.variety import possible_texts
from probes.schema.record import Cost
from probes.schema.sampling import Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

VOCAB_SIZE = len(TOKENS)
PROMPT = (2, 3, 4)


def make_model(**more: Any) -> Any:
    """The toy engine, with other members."""
    engine = ToyEngine()
    vars(engine).update(more)
    return engine


def along(ids: Sequence[int]) -> torch.Tensor:
    return torch.stack([make_up_logits([*PROMPT, *ids[:n]]) for n in range(len(ids))])


def generation(ids: Sequence[int], logits: torch.Tensor | None = None) -> Generation:
    """A text with its logits, and those of one step more than it is long."""
    steps = along(ids) if logits is None else logits
    padded = torch.cat([steps, torch.full((1, VOCAB_SIZE), torch.nan)])
    return Generation([*PROMPT], [[*ids]], ["?"], logits=padded[None])


def chance(ids: Sequence[int]) -> float:
    steps = along(ids).double().softmax(-1)
    return math.prod(float(step[token]) for step, token in zip(steps, ids, strict=True))


@pytest.mark.parametrize(
    ("rows", "steps"),
    [
        ([[1.0, 2.0, 0.0], [3.0, 0.0, 3.0], [5.0, 5.0, 0.0]], 1),
        ([[1.0, 1.0, 0.0]], 0),
        ([[1.0, 1.0, 2.0], [0.0, 1.0, 2.0]], 2),
    ],
)
def test_steps_are_counted_up_to_the_first_tie(rows: list[list[float]], steps: int) -> None:
    text = Generation([7], [[0] * len(rows)], [""], logits=torch.tensor([rows]))
    assert count_steps_without_tie(text) == steps


def test_truncate_keeps_the_beginning_of_each_sample() -> None:
    whole = Generation([7], [[1, 4, 0], [2]], ["", ""], logits=torch.zeros(2, 3, VOCAB_SIZE))
    found = truncate(whole, 2, make_model())
    assert (found.ids, found.texts) == ([[1, 4], [2]], ["c", "a"])
    assert found.logits is not None
    assert found.logits.shape == (2, 2, VOCAB_SIZE)


def test_step_logits_are_those_of_the_text() -> None:
    assert step_logits(generation((1, 4))).equal(along((1, 4)))
    with pytest.raises(ValueError, match=r"^this generation was made without output_logits$"):
        step_logits(Generation([7], [[1]], [""]))


def test_probability_of_a_text_is_the_product_of_its_steps() -> None:
    for ids in ((4,), (4, 1), (0, 3, 3, 1)):
        assert math.exp(log_likelihood(make_model(), PROMPT, ids)) == pytest.approx(chance(ids))
        text = generation(ids)
        assert probability_of_greedy(text, Sampling(top_k=0)) == pytest.approx(chance(ids))
    cold = along((4, 1)).double().mul(2).softmax(-1)
    assert probability_of_greedy(
        generation((4, 1)), Sampling(temperature=0.5, top_k=0)
    ) == pytest.approx(float(cold[0, 4] * cold[1, 1]))


def test_every_possible_text_is_found() -> None:
    texts = {
        ids[: ids.index(EOS) + 1] if EOS in ids else ids
        for ids in itertools.product(range(VOCAB_SIZE), repeat=3)
    }
    found = possible_texts(make_model(), PROMPT, Sampling(top_k=0), 3, width=1000)
    got = dict(zip(found.ids, found.probabilities.tolist(), strict=True))
    assert got == pytest.approx({ids: chance(ids) for ids in texts}, rel=1e-6)
    assert len(possible_texts(make_model(), PROMPT, Sampling(top_k=1), 3).ids) == 1
    assert possible_texts(make_model(), PROMPT, Sampling(top_k=0), 3, width=2).rest > 0


def test_search_reports_likelihood_and_rows() -> None:
    model = make_model()

    def generate(*_: Any, **__: Any) -> Generation:
        model.cost += Cost(rows=7)
        return generation((4, 1))

    model.generate = generate
    found = search_beams(model, PROMPT, 3, 2)
    assert (found.beams, found.text, found.rows) == (3, "?", 7)
    assert found.log_probability == pytest.approx(math.log(chance((4, 1))))


def test_recomputed_text_is_unchanged_by_equal_arithmetic() -> None:
    for ids in ((4,), (0, 3, 3, 1)):
        found = recompute_text(make_model(), generation(ids))
        margins = along(ids).topk(2).values
        assert found.smallest_margin == pytest.approx(float((margins[:, 0] - margins[:, 1]).min()))
        assert (found.largest_change, found.flips, found.near_ties) == (0, 0, 0)


def test_recomputed_text_ignores_logits_below_the_top_five() -> None:
    before = torch.tensor([[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [6.0, 4.5, 3.0, 2.0, 1.0, 0.0]])
    again = before.clone()
    again[:, 5] -= 3
    again[0, 0] -= 0.5
    again[1, 4] += 0.25
    model = make_model(logits=lambda _: again[:1], logits_after=lambda *_: again[None, 1:])
    found = recompute_text(model, generation((0, 0), before))
    assert (found.largest_change, found.smallest_margin) == (0.5, 1.0)
    assert (found.flips, found.near_ties) == (0, 1)  # a margin of twice the change is near
    again[0, 0] -= 1
    found = recompute_text(model, generation((0, 0), before))
    assert (found.largest_change, found.flips, found.near_ties) == (1.5, 1, 2)
