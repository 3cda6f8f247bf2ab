"""Stories drawn at many settings in one batch, and the measures of how much they vary."""

from __future__ import annotations

import math

import pytest

from probes.data import tokenizer_texts as texts
from probes.measure import decoding, stories
from probes.schema.sampling import GRID, Sampling
from probes.stats import goodness_of_fit, sampling_reference


def test_one_pass_a_token_serves_every_setting() -> None:
    import probes

    model = probes.load("embedded")
    before = model.cost.forward_passes
    found = stories.grid(model, 3, length=7)
    assert model.cost.forward_passes - before == 7
    assert [*found] == [*GRID]
    assert {len(stories) for groups in found.values() for stories in groups} == {3}
    assert {len(groups) for groups in found.values()} == {3}


def test_rows_of_one_batch_are_drawn_at_their_own_setting() -> None:
    import probes

    greedy, hot = Sampling(top_k=1), Sampling(temperature=1.4, top_p=0.9)
    found = stories.grid(probes.load("embedded"), 3, settings=(greedy, hot), length=20)
    greedily = decoding.greedy(probes.load("embedded"), texts.STORIES, 20)
    for group, text in zip(found[greedy], greedily, strict=True):
        assert {tuple(story.ids) for story in group} == {tuple(text.ids[0])}
        assert {story.entropy for story in group} == {0.0}
    assert all(len({tuple(story.ids) for story in group}) == 3 for group in found[hot])
    assert all(story.entropy > 0.5 for group in found[hot] for story in group)


def test_a_library_that_leaves_the_draws_out_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import probes
    from probes.errors import BrokenModelError

    model = probes.load("embedded")
    plain = model.generate_batch
    monkeypatch.setattr(model, "generate_batch", lambda ids, **_: plain(ids, max_new_tokens=2))
    with pytest.raises(BrokenModelError, match="generate calls no logits_processor"):
        stories.grid(model, 3, length=6)


def test_log_likelihood_is_that_of_one_pass_over_the_text() -> None:
    import probes

    model = probes.load("embedded")
    setting = Sampling(temperature=1.4, top_p=0.9)
    story = stories.grid(model, 3, settings=(setting,), samples=2, length=9)[setting][0][1]
    wanted = decoding.log_likelihood(model, texts.STORIES[0], story.ids)
    assert story.log_likelihood == pytest.approx(wanted / len(story.ids), abs=1e-4)


@pytest.mark.parametrize("setting", [GRID[4], GRID[13], Sampling(temperature=1.4, top_k=0)])
def test_draws_follow_the_law_of_the_setting(setting: Sampling) -> None:
    import torch

    from probes.measure.stories import _Drawer

    logits = torch.randn(40, generator=torch.Generator().manual_seed(0)) * 2
    rows = 20_000
    drawn = _Drawer([setting] * rows, seed=1)(torch.empty(0), logits.expand(rows, -1)).argmax(-1)
    fit = goodness_of_fit.goodness_of_fit(
        torch.bincount(drawn, minlength=40).numpy(),
        sampling_reference.log_probabilities(logits, setting).exp().numpy(),
    )
    assert fit.good


def test_the_chance_of_a_repeat_is_that_of_the_texts_before() -> None:
    import probes

    model = probes.load("embedded")
    opening, setting = texts.STORIES[0], Sampling(temperature=0.5, top_p=0.9)
    (found,) = stories.sampled_runs(model, setting, seed=5, openings=[opening], runs=2, length=3)
    ids = model.generate(
        opening, sampling=setting, seed=5, num_return_sequences=2, max_new_tokens=3
    ).ids[0]
    logits = model.logits(model.encode_prompt(opening) + ids)[-len(ids) - 1 : -1]
    steps = sampling_reference.log_probabilities(logits, setting)
    wanted = sum(float(steps[place, token]) for place, token in enumerate(ids))
    assert found.chance_of_repeat == pytest.approx(math.exp(wanted), rel=1e-4)


def test_self_bleu_falls_as_texts_part() -> None:
    from probes.measure.stories import self_bleu

    near = self_bleu(["the king saw the tall tower", "the king saw the old tower"])
    far = self_bleu(["the king saw the tall tower", "a dog ran home at once today"])
    assert 0 <= far < near < 1


def test_self_bleu_of_empty_texts_is_a_number() -> None:
    from probes.measure.stories import self_bleu

    assert self_bleu(["", ""]) == 0.0
    assert self_bleu(["", "a b c d"]) == 0.0
