from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

import probes
from probes.data.tokenizer_texts import STORIES
from probes.errors import BrokenModelError
from probes.measure import stories
from probes.measure.greedy import generate_greedy, log_likelihood
from probes.measure.stories import self_bleu
from probes.schema.sampling import GRID, Sampling
from probes.stats import sampling_reference
from probes.stats.goodness_of_fit import goodness_of_fit

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


def test_library_that_ignores_the_processor_is_refused(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = model.generate_batch
    monkeypatch.setattr(model, "generate_batch", lambda ids, **_: plain(ids, max_new_tokens=2))
    with pytest.raises(BrokenModelError, match="generate calls no logits_processor"):
        stories.sample_grid(model, 3, length=6)


def test_log_likelihood_is_that_of_one_pass(model: Model) -> None:
    story = stories.sample_grid(model, 3, settings=(HOT,), samples=2, length=9)[HOT][0][1]
    expected = log_likelihood(model, STORIES[0], story.ids)
    assert story.log_likelihood == pytest.approx(expected / len(story.ids), abs=1e-4)


@pytest.mark.parametrize("setting", [GRID[4], GRID[13], Sampling(temperature=1.4, top_k=0)])
def test_sampler_follows_the_distribution_of_the_setting(setting: Sampling) -> None:
    logits = torch.randn(40, generator=torch.Generator().manual_seed(0)) * 2
    rows = 20_000
    sampler = stories._RowSampler([setting] * rows, seed=1)
    drawn = sampler(torch.empty(0), logits.expand(rows, -1)).argmax(-1)
    law = sampling_reference.log_probabilities(logits, setting).exp()
    assert goodness_of_fit(torch.bincount(drawn, minlength=40).numpy(), law.numpy()).good


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
