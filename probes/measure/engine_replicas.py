"""Find out whether several replicas answer behind one address, where their answers differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from probes.engines.session_cache import once_per_session
from probes.errors import OverTokenBudgetError
from probes.measure.engine_answers import add_ids
from probes.measure.engine_logprobs import compare_text
from probes.measure.engine_prompts import word_prompts
from probes.measure.engine_records import is_record
from probes.measure.engine_texts import compare_texts

if TYPE_CHECKING:
    from probes.engines.base import Generation, TopLogprobs

REQUESTS = 12
"""How often one request is sent, all at once."""

JUDGED = 5
"""Most likely tokens whose distances are compared."""


@dataclass
class AnswerKind:
    """Answers to one request that are the same to within rounding."""

    first: Generation
    count: int = 0
    served_by: set[str] = field(default_factory=set)
    """What the server says of who answered, such as a `system_fingerprint`."""


def describe_kinds(engine: Any, reference: Any, prompt: str, length: int, tolerance: float) -> str:
    """Say how many kinds of answers one greedy request gets; empty if all are of one kind.

    `tolerance` is how far rounding moves a distance of two logits. With a record as the reference
    none are told apart.
    """
    if is_record(reference):
        return ""
    try:
        kinds = find_kinds(engine, reference, prompt, length, tolerance)
    except OverTokenBudgetError:
        return ""
    if len(kinds) < 2:
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

    >>> from probes import load
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
    first, second = (each.top_logprobs and each.top_logprobs[0] for each in (one, other))
    if not first or not second:
        return compare_texts(reference, "", "", one, other).is_explained(tolerance)
    for place, (here, there) in enumerate(zip(first, second, strict=False)):
        if _largest_change(here, there) > 2 * tolerance:
            return False
        if one.ids[0][place] != other.ids[0][place]:
            return True  # a near-tie: what follows is another text
    return True


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
