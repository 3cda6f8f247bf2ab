"""Greedy and beam-search texts, on an engine whose every distribution can be enumerated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from probes.engines.base import Generation
from probes.engines.toy import EOS, TOKENS, ToyEngine, make_up_logits
from probes.measure.greedy import (
    count_steps_without_tie,
    generate_greedy,
    log_likelihood,
    probabilities_of_greedy,
    recompute_text,
    search_beams,
    step_logits,
    truncate,
)
from probes.measure.variety import possible_texts
from probes.schema.sampling import Sampling

PROMPT = "bca"
TOY: Any = ToyEngine()
PROMPT_IDS = TOY.encode(PROMPT)


def along(ids: Sequence[int]) -> torch.Tensor:
    return torch.stack([make_up_logits([*PROMPT_IDS, *ids[:n]]) for n in range(len(ids))])


def chance(ids: Sequence[int]) -> float:
    steps = along(ids).double().softmax(-1)
    return math.prod(float(step[token]) for step, token in zip(steps, ids, strict=True))


def greedy_text(length: int) -> Generation:
    return generate_greedy(TOY, [PROMPT], length)[0]


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


def test_truncated_text_is_that_of_a_shorter_run() -> None:
    found, short = truncate(greedy_text(6), 3, TOY), greedy_text(3)
    assert (found.ids, found.texts) == (short.ids, short.texts)
    assert step_logits(found).equal(step_logits(short))


def test_shorter_text_is_the_start_of_a_longer_one() -> None:
    model: Any = ToyEngine()
    (long,) = generate_greedy(model, [PROMPT], 6)
    before = model.cost.forward_passes
    (short,) = generate_greedy(model, [PROMPT], 3)
    assert model.cost.forward_passes == before
    assert (short.ids, short.texts) == (truncate(long, 3, model).ids, greedy_text(3).texts)
    assert generate_greedy(model, [PROMPT], 3)[0] is short


def test_step_logits_are_those_of_the_text() -> None:
    text = greedy_text(4)
    assert step_logits(text).equal(along(text.ids[0]))
    with pytest.raises(ValueError, match=r"^this generation was made without output_logits$"):
        step_logits(Generation([7], [[1]], [""]))


@pytest.mark.parametrize("length", [1, 2, 4])
def test_probability_of_a_text_is_the_product_of_its_steps(length: int) -> None:
    text = greedy_text(length)
    ids = text.ids[0]
    assert math.exp(log_likelihood(TOY, PROMPT, ids)) == pytest.approx(chance(ids))
    cold = along(ids).double().mul(2).softmax(-1)
    settings = [Sampling(top_k=0), Sampling(temperature=0.5, top_k=0)]
    assert probabilities_of_greedy(text, settings) == pytest.approx(
        [chance(ids), math.prod(float(step[token]) for step, token in zip(cold, ids, strict=True))]
    )


def test_probability_of_a_text_that_top_k_drops_is_zero() -> None:
    text = greedy_text(1)
    other = replace(text, ids=[[int(along([0])[0].argmin())]])
    assert probabilities_of_greedy(other, [Sampling(top_k=1)]) == [0.0]


def test_every_possible_text_is_found() -> None:
    texts = {
        ids[: ids.index(EOS) + 1] if EOS in ids else ids
        for ids in itertools.product(range(len(TOKENS)), repeat=3)
    }
    found = possible_texts(TOY, PROMPT, Sampling(top_k=0), 3, width=1000)
    got = dict(zip(found.ids, found.probabilities.tolist(), strict=True))
    assert got == pytest.approx({ids: chance(ids) for ids in texts}, rel=1e-6)
    assert len(possible_texts(TOY, PROMPT, Sampling(top_k=1), 3).ids) == 1
    assert possible_texts(TOY, PROMPT, Sampling(top_k=0), 3, width=2).rest > 0


def test_search_reports_likelihood_and_rows() -> None:
    class Searching(ToyEngine):
        def generate(self, prompt: Any, **_: Any) -> Generation:
            self.cost = self.cost.model_copy(update={"rows": self.cost.rows + 7})
            return Generation(self.encode_prompt(prompt), [[4, 2]], ["ca"])

    model: Any = Searching()
    found = search_beams(model, PROMPT, 3, 2)
    assert (found.beams, found.text, found.rows) == (3, "ca", 7)
    assert found.log_probability == pytest.approx(math.log(chance((4, 2))))


def test_recomputed_text_is_unchanged_by_equal_arithmetic() -> None:
    found = recompute_text(TOY, greedy_text(4))
    assert (found.largest_change, found.flips, found.near_ties) == (0, 0, 0)
    assert found.widest_flip == 0


def test_recomputed_text_ignores_logits_below_the_top_five() -> None:
    before = torch.tensor([[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [6.0, 4.5, 3.0, 2.0, 1.0, 0.0]])
    again = before.clone()
    again[:, 5] -= 3
    again[0, 0] -= 0.5
    again[1, 4] += 0.25

    def next_logits(ids: Sequence[int]) -> torch.Tensor:
        return again[int(len(ids) > len(PROMPT_IDS))]

    model: Any = ToyEngine(next_logits=next_logits)
    text = replace(greedy_text(2), ids=[[2, 2]], logits=before[None])
    found = recompute_text(model, text)
    assert (found.largest_change, found.smallest_margin) == (0.5, 1.0)
    assert (found.flips, found.near_ties) == (0, 0)
    again[0, 0] -= 1
    found = recompute_text(model, text)
    assert (found.largest_change, found.flips, found.near_ties) == (1.5, 1, 2)
    assert found.widest_flip == 1.0


def test_recomputed_text_whose_unlikeliest_token_leads_is_a_wide_flip() -> None:
    before = torch.tensor([[6.0, 6.0, 4.0, 3.0, 2.0, 1.0], [6.0, 4.5, 3.0, 2.0, 1.0, 0.0]])
    again = before.clone()
    again[1, 5] = 9

    def next_logits(ids: Sequence[int]) -> torch.Tensor:
        return again[int(len(ids) > len(PROMPT_IDS))]

    model: Any = ToyEngine(next_logits=next_logits)
    found = recompute_text(model, replace(greedy_text(2), ids=[[2, 2]], logits=before[None]))
    assert (found.largest_change, found.flips, found.near_ties) == (0, 1, 1)
    assert found.widest_flip == 6.0
