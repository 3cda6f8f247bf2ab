from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

import probes
from probes.data.tokenizer_texts import STORIES
from probes.measure import stories
from probes.measure.greedy import generate_greedy, log_likelihood
from probes.measure.stories import self_bleu
from probes.schema.sampling import Sampling
from probes.stats import sampling_reference

if TYPE_CHECKING:
    from probes import Model

GREEDY, HOT = Sampling(top_k=1), Sampling(temperature=1.4, top_p=0.9)


@pytest.fixture(scope="module")
def model() -> Model:
    return probes.load("embedded")


def test_rows_of_a_batch_are_sampled_at_their_own_setting(model: Model) -> None:
    before = model.cost.forward_passes
    found = stories.sample_grid(model, 3, settings=(GREEDY, HOT), length=20)
    assert model.cost.forward_passes - before == 20
    greedy = generate_greedy(model, STORIES, 20)
    for group, text in zip(found[GREEDY], greedy, strict=True):
        assert {tuple(story.ids) for story in group} == {tuple(text.ids[0])}
        assert {story.entropy for story in group} == {0.0}
    assert all(len({tuple(story.ids) for story in group}) == 3 for group in found[HOT])
    assert all(story.entropy > 0.5 for group in found[HOT] for story in group)


def test_log_likelihood_is_that_of_one_pass(model: Model) -> None:
    story = stories.sample_grid(model, 3, settings=(HOT,), samples=2, length=9)[HOT][0][1]
    expected = log_likelihood(model, STORIES[0], story.ids)
    assert story.log_likelihood == pytest.approx(expected / len(story.ids), abs=1e-4)


def test_chance_of_a_repeat_is_that_of_the_texts_before(model: Model) -> None:
    setting = Sampling(temperature=0.5, top_p=0.9)
    found, *_ = stories.run_by_sampling(model, setting, seed=5, runs=2, length=3)
    first, *_ = model.generate_batch(
        STORIES, sampling=setting, seed=5, num_return_sequences=2, max_new_tokens=3
    )
    ids = first.ids[0]
    logits = model.logits(model.encode_prompt(STORIES[0]) + ids)[-len(ids) - 1 : -1]
    steps = sampling_reference.log_probabilities(logits, setting)
    expected = sum(float(steps[place, token]) for place, token in enumerate(ids))
    assert found.chance_of_repeat == pytest.approx(math.exp(expected), rel=1e-4)


def test_self_bleu_falls_as_texts_differ() -> None:
    near = self_bleu(["the king saw the tall tower", "the king saw the old tower"])
    far = self_bleu(["the king saw the tall tower", "a dog ran home at once today"])
    assert 0 <= far < near < 1
    assert self_bleu(["", "a b c d"]) == self_bleu(["", ""]) == 0.0
