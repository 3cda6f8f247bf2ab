"""Figures of what the model knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from probes.training.corpus import Fact, held_out_questions, load_facts
from probes.training.subject import PUBLISHED_QUESTIONS, SEED, Figure, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

HEATS = (0.2, 0.6, 1.0, 1.2, 1.4)
"""Temperatures of the table: the first with top_p 0.2, the others with top_p 0.9."""


def question_figures(subject: Subject) -> list[Figure]:
    """Measure how many questions are answered, by temperature, and those held out of training."""
    facts = load_facts()[::3]
    asked = [(fact, fact.questions[0]) for fact in facts]
    lines = []
    for heat in HEATS:
        top_p = 0.2 if heat == HEATS[0] else 0.9
        share = accuracy(subject, asked, top_p, heat)
        lines.append(Figure(f"answers right, top_p {top_p}, T {heat}", _share(share, len(facts))))
    held_out = held_out_questions()
    share = accuracy(subject, held_out, 0.2, 0.2)
    lines.append(Figure("phrasings held out of training, T 0.2", _share(share, len(held_out))))
    published = subject.continuations(PUBLISHED_QUESTIONS, 8)
    texts = " · ".join(f"`{' '.join(text.split())}`" for text in published.texts)
    return [*lines, Figure("the three published questions", texts)]


def accuracy(
    subject: Subject, asked: Sequence[tuple[Fact, str]], top_p: float, heat: float
) -> float:
    """Draw one answer to each question and count the right ones.

    Args:
        subject: The model.
        asked: Facts with the question asked of each; a space is put behind the question.
        top_p: Nucleus mass.
        heat: Temperature.

    Returns:
        Share of answers that state the accepted answer within 12 tokens.
    """
    torch.manual_seed(SEED)
    drawn = subject.continuations(
        [f"{question} " for _, question in asked],
        12,
        do_sample=True,
        top_p=top_p,
        temperature=heat,
        top_k=50,
    )
    right = [
        states(text, fact.answer) or states(text, fact.short_answer)
        for (fact, _), text in zip(asked, drawn.texts, strict=True)
    ]
    return sum(right) / len(right)


def states(text: str, answer: str) -> bool:
    """Whether a text states an answer, as whole words.

    Example:
        >>> states(" Au. The symbol", "Au"), states(" Austria", "Au")
        (True, False)
    """
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def _share(share: float, count: int) -> str:
    return f"{share:.2f} of {count}"
