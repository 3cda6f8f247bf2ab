"""Draw answers of a server to questions of fact, and count the right ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.engines.session_cache import once_per_session
from probes.measure.engine_prompts import asks_in_chat
from probes.measure.knowledge import LENGTH, is_right
from probes.schema.sampling import NEAR_GREEDY, WIDE_HOT
from probes.stats.permutation import PairedComparison, compare_paired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.data.questions import Question

RUNS = 2
"""Answers drawn to each question at each setting."""

PLAIN = "Question: {}\nAnswer:"


@dataclass(frozen=True)
class DrawnAnswers:
    """How often answers at two settings are right, and whether the second has fewer."""

    near_greedy: float
    """Share of the answers that are right."""
    wide_hot: float
    wrong: dict[str, str]
    """A wrong near-greedy answer to each question that has one."""
    test: PairedComparison
    """Of the shares of right answers, question by question."""


@once_per_session
def draw_answers(engine: Any, questions: Sequence[Question], *, seed: int) -> DrawnAnswers:
    """Draw answers to all questions near-greedily and wide-hot, once a session.

    Each is asked as its file words it, else as what a user says where the server takes messages
    alone, else after `Question:`.

    >>> from probes import load
    >>> from probes.data.questions import built_in_questions
    >>> found = draw_answers(load("embedded"), built_in_questions()[3:5], seed=0)
    >>> found.near_greedy, len(found.wrong)  # it is to be asked without these words
    (0.0, 2)
    """
    bare = asks_in_chat(engine)
    prompts = [
        each.prompt or (each.text if bare else PLAIN.format(each.text)) for each in questions
    ]
    shares, wrong = [], {}
    for sampling in (WIDE_HOT, NEAR_GREEDY):
        drawn = engine.generate_batch(
            prompts,
            sampling=sampling,
            seed=seed,
            num_return_sequences=RUNS,
            max_new_tokens=LENGTH,
        )
        right = [
            [is_right(text, question.forms) for text in made.texts]
            for question, made in zip(questions, drawn, strict=True)
        ]
        wrong = {
            question.text: made.texts[each.index(False)]
            for question, made, each in zip(questions, drawn, right, strict=True)
            if not all(each)
        }
        shares.append(np.mean(np.array(right, dtype=np.float64), axis=1))
    wide, near = shares
    return DrawnAnswers(
        near_greedy=float(near.mean()),
        wide_hot=float(wide.mean()),
        wrong=wrong,
        test=compare_paired(near, wide, by=f"{RUNS} draws"),
    )
