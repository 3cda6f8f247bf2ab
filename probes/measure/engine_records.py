"""Compare an engine with a record of a transformers target, along the prompts that it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from probes.engines.base import Generation, TopLogprobs
from probes.engines.recorded import RecordedReference
from probes.engines.session_cache import once_per_session
from probes.measure.engine_answers import TOP
from probes.measure.rounding_noise import RoundingNoise

EVERY = 3
"""One of so many recorded prompts is asked: each of its tokens may take a request."""

STORED = 1e-4
"""Nats by which the distance of two logits is off in a record, of four decimals."""


def is_record(reference: Any) -> TypeGuard[RecordedReference]:
    """Return whether a reference is a record."""
    return isinstance(reference, RecordedReference)


def explain_rounding(reference: RecordedReference) -> float:
    """Return the largest change of a distance of two logits that rounding explains.

    It is twice what rounding may move a logit by: what was simulated when the record was made, or
    else eight times what another batch moved it by, within what is possible.

    >>> from types import SimpleNamespace
    >>> from probes.engines.recorded import MeasuredNoise
    >>> noise = MeasuredNoise(batch=1e-5, bound=1.0, simulated=None)
    >>> round(explain_rounding(SimpleNamespace(noise=noise)), 6)
    0.00026
    """
    noise = reference.noise
    if noise.simulated is not None:
        return 2 * RoundingNoise(*noise.simulated).tolerance + STORED
    return 2 * min(noise.bound, 8 * noise.batch) + STORED


@once_per_session
def follow_prompts(engine: Any, reference: RecordedReference) -> list[tuple[str, Generation]]:
    """Return an engine's log-probabilities along recorded prompts, each after its first token.

    Where the engine has no log-probabilities of a given text, each beginning of it is a request of
    its own, for one token.
    """
    chosen = [each for each in list(reference.prompts.values())[::EVERY] if len(each.ids) > 1]
    if "prompt-logprobs" in engine.capabilities:
        steps = [engine.prompt_logprobs(each.ids, TOP) for each in chosen]
    else:
        starts = [each.ids[:end] for each in chosen for end in range(1, len(each.ids))]
        made = engine.generate_batch(starts, max_new_tokens=1, do_sample=False, top_logprobs=TOP)
        found = iter(made)
        steps = [[_first_step(next(found), token) for token in each.ids[1:]] for each in chosen]
    return [
        (each.prompt, Generation(each.ids[:1], [each.ids[1:]], [each.prompt], top_logprobs=[row]))
        for each, row in zip(chosen, steps, strict=True)
        if all(step.ids for step in row)
    ]


def _first_step(made: Generation, token: int) -> TopLogprobs:
    """Return the first step of a text, as if another token had come."""
    rows: Sequence[TopLogprobs] = (made.top_logprobs or [[]])[0]
    if not rows:
        return TopLogprobs([], [], float("nan"))
    listed = dict(zip(rows[0].ids, rows[0].logprobs, strict=True))
    return TopLogprobs(rows[0].ids, rows[0].logprobs, listed.get(token, min(listed.values())))
