"""Check how a server's penalties for tokens that came before change its greedy texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probes.data.tokenizer_texts import STORIES
from probes.errors import UndecidableError
from probes.measure.listed_steps import list_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.base import Generation
    from probes.measure.listed_steps import ListedStep

TOP = 20
"""Most likely tokens that are listed at each step; vLLM lists no more."""

PENALTIES = {"presence_penalty": 1.5, "frequency_penalty": 1.0}
"""By OpenAI's names, values under which tokens seldom come again: each takes up to 2."""

LAST = 64
"""Tokens that llama.cpp looks back at, those of the prompt among them."""

ROUNDING = 1e-3
"""Nats by which a penalized token may be behind: a server subtracts in float32."""


@dataclass(frozen=True)
class PenalizedText:
    """A greedy text under one penalty, beside what the listed log-probabilities make of it."""

    penalty: str
    prompt: str
    text: str
    steps: int
    """Steps that the list decides: no token beyond it could be the first."""
    changed: int
    """Of these, those at which the penalty makes another token the first."""
    wrong: int | None
    """Number of the first step that takes another token; None if none does."""
    behind: float
    """Nats by which that token is behind, after the penalty."""


def penalize_texts(engine: Any, length: int) -> list[PenalizedText]:
    """Make greedy texts under each of `PENALTIES`, and check each choice against its list.

    As OpenAI's API documents, the frequency penalty counts for each time that a token came in the
    new text, the presence penalty once. llama.cpp looks at the last `LAST` tokens, prompt included.
    Raises UndecidableError where the server takes none, or counts tokens of a prompt that it does
    not tell.
    """
    dialect = getattr(engine, "dialect", None)
    if dialect is None or not PENALTIES.keys() <= dialect.neutral.keys():
        raise UndecidableError(
            f"its engine, {engine.name}, is not known to take {' and '.join(PENALTIES)}"
        )
    found = []
    for penalty, value in PENALTIES.items():
        made = engine.generate_batch(
            STORIES, max_new_tokens=length, do_sample=False, top_logprobs=TOP, **{penalty: value}
        )
        for prompt, text in zip(STORIES, made, strict=True):
            before = engine.encode(prompt) if dialect.penalizes_prompt else []
            found.append(_check(penalty, value, prompt, text, before))
    return found


def _check(
    penalty: str, value: float, prompt: str, text: Generation, before: Sequence[int]
) -> PenalizedText:
    came: list[int | bytes] = list(before)
    decided = changed = 0
    wrong, behind = None, 0.0
    for number, step in enumerate(list_steps(text)):
        counts = Counter(came[-LAST:] if before else came)
        listed = _penalize(step, counts, value, once=penalty == "presence_penalty")
        best = max(listed.values())
        if wrong is None and best > step.logprobs[-1] + ROUNDING:
            decided += 1
            changed += listed[step.tokens[0]] < best - ROUNDING
            gap = best - listed.get(step.token, step.logprobs[-1])
            if gap > ROUNDING:
                wrong, behind = number, gap
        came.append(step.token)
    return PenalizedText(penalty, prompt, text.text, decided, changed, wrong, behind)


def _penalize(
    step: ListedStep, counts: Counter[int | bytes], value: float, *, once: bool
) -> dict[int | bytes, float]:
    found: dict[int | bytes, float] = {}
    for place, logprob in enumerate(step.logprobs):
        token = step.tokens[place]
        found[token] = logprob - value * (min(1, counts[token]) if once else counts[token])
    return found
