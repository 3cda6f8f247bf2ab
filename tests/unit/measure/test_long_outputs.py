"""Logits along a long text are judged position by position."""

from __future__ import annotations

import pytest
import torch

from probes.measure.long_outputs import choose_positions, judge_logits
from probes.schema.recorded_output import RecordedLogits

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
        (
            1,
            2.5,
            "drifted",
            "(0.01); after 1 or fewer none moves further than that",
        ),
        (0, 9.0, "drifted", "after 1 of its 3 tokens a logit moves by 6"),
        (2, torch.nan, "drifted", "after 3 of its 3 tokens a logit moves by inf"),
    ],
)
def test_first_moved_position_is_named(place: int, value: float, outcome: str, words: str) -> None:
    logits = LOGITS.clone()
    logits[place, int(LOGITS[place].argmax())] = value
    found = judge_logits(RECORDED, RECORDED, logits, tolerance=0.01)
    assert (found.outcome.value, words in found.reason) == (outcome, True)


def test_other_ids_are_not_compared() -> None:
    now = RECORDED.model_copy(update={"prompt_ids": (5, 6, 8)})
    found = judge_logits(RECORDED, now, LOGITS, tolerance=0.01)
    assert found.outcome.value == "other prompt"


def test_positions_of_another_window_are_left_out() -> None:
    now = RECORDED.model_copy(update={"positions": (1, 2)})
    assert judge_logits(RECORDED, now, LOGITS[1:], tolerance=0.01).holds


def test_positions_of_short_texts_are_within_them() -> None:
    assert choose_positions(4, 64) == [0, 1, 2, 3]
    assert choose_positions(4, 2) == [0, 1, 2, 3]
