"""Texts whose rows are drawn at their own settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from probes.engines.base import Generation
from probes.engines.toy import ToyEngine
from probes.errors import BrokenModelError
from probes.measure.row_sampling import RowSampler, UnfilteredSampler, sample_texts
from probes.schema.sampling import GRID, Sampling
from probes.stats.goodness_of_fit import goodness_of_fit
from probes.stats.sampling_reference import entropy, log_probabilities


def test_samples_are_measured_over_their_own_steps() -> None:
    toy, sampling = ToyEngine(), Sampling(temperature=1.4, top_k=3)
    found = sample_texts(toy, ["ab", "c"], [sampling], samples=4, length=5, seed=1)[sampling]
    assert len({len(text.ids) for group in found for text in group}) > 1, "none ended early"
    for prompt, group in zip(("ab", "c"), found, strict=True):
        for text in group:
            ids = toy.encode(prompt) + text.ids
            steps = toy.logits(ids)[-len(text.ids) - 1 : -1]
            own, filtered = (log_probabilities(steps, each) for each in (None, sampling))
            chosen = own.gather(-1, torch.tensor(text.ids).unsqueeze(-1))
            assert text.log_likelihood == pytest.approx(float(chosen.mean()), abs=1e-5)
            assert text.entropy == pytest.approx(float(entropy(filtered).mean()), abs=1e-5)


def test_samples_need_a_library_that_calls_the_processor() -> None:
    model: Any = SimpleNamespace(
        generate_batch=lambda prompts, **_: [Generation([7], [[2]], [""]) for _ in prompts]
    )
    with pytest.raises(BrokenModelError, match="calls no logits_processor"):
        sample_texts(model, ["P"], [Sampling()], samples=1, length=1, seed=1)


@pytest.mark.parametrize("setting", [GRID[4], GRID[13], Sampling(temperature=1.4, top_k=0)])
def test_sampler_follows_the_distribution_of_the_setting(setting: Sampling) -> None:
    logits = torch.randn(40, generator=torch.Generator().manual_seed(0)) * 2
    rows = 20_000
    sampler = RowSampler([setting] * rows, seed=1)
    drawn = sampler(torch.empty(0), logits.expand(rows, -1)).argmax(-1)
    law = log_probabilities(logits, setting).exp()
    assert goodness_of_fit(torch.bincount(drawn, minlength=40).numpy(), law.numpy()).good


@pytest.mark.parametrize("masked", [False, True])
def test_unfiltered_sampler_follows_the_models_own_distribution(masked: bool) -> None:
    logits = torch.randn(40, generator=torch.Generator().manual_seed(0)) * 2
    if masked:
        logits[[0, 7, 39]] = -torch.inf
    drawn = UnfilteredSampler(seed=1)(torch.empty(0), logits.expand(20_000, -1)).argmax(-1)
    law = log_probabilities(logits).exp()
    assert goodness_of_fit(torch.bincount(drawn, minlength=40).numpy(), law.numpy()).good
    assert not masked or not set(drawn.tolist()) & {0, 7, 39}
