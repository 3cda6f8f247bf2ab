"""Scores of beam search's texts are judged by measured rounding, in float32 and in bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import probes
from probes.measure import beams
from probes.stats.near_tie import judge_beams

if TYPE_CHECKING:
    from probes import Model

PROMPTS = ["The capital of Japan is", "Once upon a time,"]


@pytest.fixture(scope="module")
def model() -> Model:
    return probes.load("embedded")


@pytest.mark.parametrize(("dtype", "factor"), [("float32", 0.98), ("bfloat16", 0.5)])
def test_flatter_logits_are_no_near_tie(model: Model, dtype: str, factor: float) -> None:
    """As many ties as bfloat16 has, none excuses a score that moved."""
    own = model if dtype == "float32" else model.variant(dtype=dtype)
    recorded = [each.outputs for each in beams.search_texts(own, PROMPTS)]
    head = own.network.get_output_embeddings()
    own._prefill_of_ids.cache_clear()
    with head.register_forward_hook(lambda _, __, logits: factor * logits):
        now = [each.outputs for each in beams.search_texts(own, PROMPTS)]
        explained = beams.measure_noise(own, now)
        scores = [beams.score_texts(own, each) for each in recorded]
    own._prefill_of_ids.cache_clear()
    for old, new, again in zip(recorded, now, scores, strict=True):
        found = judge_beams(
            "P", old, new, closest=0.0, scores_of_recorded=again, explained=explained
        )
        assert {each.outcome.value for each in found} == {"drifted"}


def test_refused_beam_search_has_the_library_words(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("X cannot use beam search\n with a cache")

    monkeypatch.setattr(model.network, "generate", refuse)
    with pytest.raises(beams.BeamsRefusedError, match="X cannot use beam search with a cache"):
        beams.search_texts(model, PROMPTS)
