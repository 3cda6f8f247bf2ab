"""Two settings that answer questions, compared by draws where bounds do not decide."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from probes.data.questions import Question
from probes.measure.asking import AskedQuestion
from probes.measure.knowledge import compare_settings
from probes.schema.sampling import NEAR_GREEDY, WIDE_HOT
from probes.stats.permutation import ALPHA

ASKED = 40
WORDS = ("yes.", "no.")


def make_model(uncertain: int) -> Any:
    """A model that says yes, but is uncertain of so many of the questions, whose ids are theirs."""

    def follow(texts: list[list[int]]) -> torch.Tensor:
        gaps = [[2.0 if text[0] < uncertain else 60.0, 0.0] for text in texts]
        return torch.tensor(gaps)

    return SimpleNamespace(
        eos_token_ids=[],
        encode_prompt=list,
        decode=lambda ids, **_: WORDS[ids[0]],
        follow_branches=lambda: follow,
    )


@pytest.mark.parametrize(("uncertain", "clear"), [(0, False), (1, False), (30, True)])
def test_setting_is_worse_only_if_questions_of_the_kind_are(uncertain: int, clear: bool) -> None:
    questions = [
        AskedQuestion(Question(text=f"Is it {n}?", accepted=("yes",), origin="ours"), "plain", (n,))
        for n in range(ASKED)
    ]
    found = compare_settings(make_model(uncertain), questions, NEAR_GREEDY, WIDE_HOT, 0)
    assert (found.p_value < ALPHA) is clear
