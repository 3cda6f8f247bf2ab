"""Logits along a long text are judged position by position."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import probes
from probes.data.questions import built_in_questions
from probes.engines.session_cache import forget_session
from probes.engines.transformers.attention import use_attention
from probes.errors import UserError
from probes.measure import long_outputs
from probes.measure.asking import ask
from probes.measure.long_outputs import choose_positions, judge_logits
from probes.schema.recorded_output import RecordedLogits
from probes.stats.rounding import logit_tolerance

LOGITS = torch.tensor([[3.0, 1.0], [0.0, 2.0], [4.0, 0.5]])
RECORDED = RecordedLogits(
    prompt_ids=(5, 6, 7),
    positions=(0, 1, 2),
    top_ids=((0, 1), (1, 0), (0, 1)),
    top_logits=((3.0, 1.0), (2.0, 0.0), (4.0, 0.5)),
)


@pytest.mark.parametrize(
    ("place", "value", "outcome", "words"),
    [
        (1, 2.0, "same", ""),
        (1, 2.005, "same", ""),
        (1, 2.5, "drifted", "(0.01); after 1 or fewer none moves further than that"),
        (0, 9.0, "drifted", "after 1 of its 3 tokens a logit moves by 6"),
        (2, torch.nan, "drifted", "after 3 of its 3 tokens a logit moves by inf"),
    ],
)
def test_first_moved_position_is_named(place: int, value: float, outcome: str, words: str) -> None:
    logits = LOGITS.clone()
    logits[place, int(LOGITS[place].argmax())] = value
    found = judge_logits(RECORDED, RECORDED, logits, tolerance=0.1, noise=lambda: 0.01)
    assert (found.outcome.value, words in found.reason) == (outcome, True)


def test_other_ids_are_not_compared() -> None:
    now = RECORDED.model_copy(update={"prompt_ids": (5, 6, 8)})
    found = judge_logits(RECORDED, now, LOGITS, tolerance=0.1, noise=lambda: 0.01)
    assert found.outcome.value == "other prompt"


def test_positions_of_another_window_are_left_out() -> None:
    now = RECORDED.model_copy(update={"positions": (1, 2)})
    assert judge_logits(RECORDED, now, LOGITS[1:], tolerance=0.1, noise=lambda: 0.01).holds


def test_positions_of_short_texts_are_within_them() -> None:
    assert choose_positions(4, 64) == [0, 1, 2, 3]
    assert choose_positions(4, 2) == [0, 1, 2, 3]


@contextmanager
def last_mlp_lost(network: Any) -> Iterator[None]:
    with network.model.layers[-1].mlp.register_forward_hook(lambda *each: 0 * each[-1]):
        yield


@contextmanager
def frequencies_scaled(network: Any) -> Iterator[None]:
    rope = network.model.rotary_emb
    before = rope.inv_freq
    rope.inv_freq = before * 1.01
    yield
    rope.inv_freq = before


def test_faults_in_bfloat16_are_seen() -> None:
    """Another attention implementation is none; the share of the logits' spread hides the rest."""
    model = probes.load("embedded").variant(dtype="bfloat16")
    ids = long_outputs.build_long_text(model)
    recorded = long_outputs.record_logits(model, ids)

    def decide() -> str:
        forget_session(model)
        along = long_outputs.compute_logits(model, tuple(ids))
        return judge_logits(
            recorded,
            recorded,
            along,
            tolerance=logit_tolerance([along], "bfloat16"),
            noise=lambda: long_outputs.measure_noise(model, tuple(ids)),
        ).outcome.value

    assert decide() == "same"
    with use_attention(model, "eager"):
        assert decide() == "same"
    for fault in (last_mlp_lost, frequencies_scaled):
        with fault(model.network):
            assert decide() == "drifted", fault.__name__


def test_refused_question_is_asked_in_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    model = probes.load("embedded")
    (first,) = ask(model, built_in_questions()[:1], "plain")

    def refuse(model: Any, questions: Any, form: str | None = None) -> Any:
        if form is None:
            raise UserError("its template wants a system message")
        return ask(model, questions, form)

    monkeypatch.setattr(long_outputs, "ask", refuse)
    texts = long_outputs.generate_to_end(model)
    assert [*texts] == [long_outputs.ENDING, first.question.text]
    assert texts[first.question.text].prompt_ids == model.encode(str(first.prompt))


@pytest.mark.parametrize(("window", "words"), [(1024, ""), (4096, "of 4,096 tokens"), (9000, "")])
def test_wide_window_is_dear_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, window: int, words: str
) -> None:
    monkeypatch.setattr(long_outputs, "find_window", lambda _: window)
    found = long_outputs.explain_dear(probes.load("embedded"))
    assert (words in found, bool(words)) == (True, bool(found))
