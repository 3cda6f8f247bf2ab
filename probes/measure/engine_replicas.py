"""Find out whether several replicas answer behind one address, where their answers differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from probes.engines.base import Generation, TopLogprobs
from probes.engines.session_cache import once_per_session
from probes.errors import EndpointFailedError, OverTokenBudgetError
from probes.measure.engine_answers import add_ids
from probes.measure.engine_logprobs import compare_text
from probes.measure.engine_prompts import word_prompts
from probes.measure.engine_records import is_record
from probes.measure.engine_texts import compare_texts

REQUESTS = 12
"""How often one request is sent, all at once."""

JUDGED = 5
"""Most likely tokens whose distances are compared."""


MOST_KINDS = 4
"""Kinds of answers that replicas explain; each answer of a noisy server may be of its own kind."""


@dataclass
class AnswerKind:
    """Answers to one request that are the same to within rounding."""

    first: Generation
    count: int = 0
    served_by: set[str] = field(default_factory=set)
    """What the server says of who answered, such as a `system_fingerprint`."""


def describe_kinds(
    engine: Any, reference: Any, prompt: str, length: int, tolerance: float, change: float = 0.0
) -> str:
    """Say how many kinds of answers one greedy request gets; empty if replicas explain nothing.

    They do where there are few kinds, each seen more than once, which are at least half of `change`
    from each other. `tolerance` is how far rounding moves a distance of two logits. With a record
    as the reference no replicas are found.
    """
    if is_record(reference):
        return ""
    try:
        kinds = find_kinds(engine, reference, prompt, length, tolerance)
    except (OverTokenBudgetError, EndpointFailedError):  # what was found before is a failure
        return ""
    if not 2 <= len(kinds) <= MOST_KINDS or kinds[-1].count < 2:
        return ""
    if max(_distance(kinds[0].first, each.first) for each in kinds[1:]) < change / 2:
        return ""
    total = sum(kind.count for kind in kinds)
    counts = ", ".join(
        f"{kind.count} of {total} requests{_name(kind)}"
        + (" as the reference" if _is_reference(reference, prompt, kind, tolerance) else "")
        for kind in kinds
    )
    return f"replicas differ: {len(kinds)} kinds of answers to one request: {counts}"


@once_per_session
def find_kinds(
    engine: Any, reference: Any, prompt: str, length: int, tolerance: float
) -> list[AnswerKind]:
    """Send one greedy request several times, and put the answers into kinds, the largest first.

    >>> model = load("embedded")
    >>> [kind.count for kind in find_kinds(model, model, "Once upon a time", 2, 0.01)]
    [12]
    """
    lists = {"top_logprobs": JUDGED} if "logprobs" in engine.capabilities else {}
    [asked] = word_prompts(engine, reference, [prompt])
    made = engine.generate_batch(
        [asked] * REQUESTS, max_new_tokens=length, do_sample=False, **lists
    )
    kinds: list[AnswerKind] = []
    for answer in add_ids(engine, reference, [prompt] * REQUESTS, made):
        kind = next(
            (each for each in kinds if _is_same(reference, each.first, answer, tolerance)), None
        )
        if kind is None:
            kinds.append(kind := AnswerKind(answer))
        kind.count += 1
        kind.served_by.update(answer.served_by or [])
    return sorted(kinds, key=lambda kind: -kind.count)


def _is_reference(reference: Any, prompt: str, kind: AnswerKind, tolerance: float) -> bool:
    steps = [*compare_text(reference, prompt, kind.first)] if kind.first.top_logprobs else []
    return bool(steps) and max(step.change for step in steps) <= tolerance


def _is_same(reference: Any, one: Generation, other: Generation, tolerance: float) -> bool:
    """Return whether rounding explains the difference of two answers to one request."""
    if not all(each.top_logprobs and each.top_logprobs[0] for each in (one, other)):
        return compare_texts(reference, "", "", one, other).is_explained(tolerance)
    return _distance(one, other) <= 2 * tolerance


def _distance(one: Generation, other: Generation) -> float:
    """Return the largest change of distances up to where two texts differ; infinite if unknown."""
    first, second = (each.top_logprobs and each.top_logprobs[0] for each in (one, other))
    if not first or not second:
        return float("inf")
    largest = 0.0
    for place, (here, there) in enumerate(zip(first, second, strict=False)):
        largest = max(largest, _largest_change(here, there))
        if one.ids[0][place] != other.ids[0][place]:
            break  # what follows is another text
    return largest


def _largest_change(here: TopLogprobs, there: TopLogprobs) -> float:
    """Return how far the distances of the likely tokens differ; infinite if none is shared."""
    first = dict(zip(here.ids, here.logprobs, strict=True))
    second = dict(zip(there.ids, there.logprobs, strict=True))
    shared = [token for token in here.ids if token in second]
    if not shared:
        return float("inf")
    base = shared[0]
    return max(abs((first[each] - first[base]) - (second[each] - second[base])) for each in shared)


def _name(kind: AnswerKind) -> str:
    names = sorted(kind.served_by)
    return f" ({names[0]})" if len(names) == 1 else ""
