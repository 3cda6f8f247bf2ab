"""Watch drafted decoding: what is drafted at each step, and how much of it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any
from unittest import mock

from transformers.generation import candidate_generator

from probes.schema.evidence.texts import DraftStep

GENERATORS = ("AssistedCandidateGenerator", "PromptLookupCandidateGenerator")
"""The library's classes that draft: by an assistant model, and from the prompt."""

MOST_STEPS = 24
"""Steps of a text that are kept."""


@dataclass(frozen=True)
class Draft:
    """Tokens drafted at one step."""

    start: int
    """How many tokens of prompt and text were before it."""
    ids: list[int]


@contextmanager
def watch_drafts() -> Iterator[list[Draft]]:
    """Collect the drafts of texts that are generated meanwhile; none where they cannot be seen."""
    drafts: list[Draft] = []

    def watch(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def get_candidates(drafter: Any, input_ids: Any, *args: Any, **more: Any) -> Any:
            found = original(drafter, input_ids, *args, **more)
            start = input_ids.shape[1]
            drafts.append(Draft(start, found[0][0, start:].tolist()))
            return found

        return get_candidates

    with ExitStack() as stack:
        for name in GENERATORS:
            drafter = getattr(candidate_generator, name, None)
            if drafter is not None and hasattr(drafter, "get_candidates"):
                watched = watch(drafter.get_candidates)
                stack.enter_context(mock.patch.object(drafter, "get_candidates", watched))
        yield drafts


def follow_drafts(
    drafts: Sequence[Draft], ids: Sequence[int], text_of_last: Callable[[Sequence[int]], str]
) -> list[DraftStep]:
    """Return the first steps of a text whose prompt and tokens are `ids`.

    Each step keeps the drafted tokens that the model chooses too, and adds one of the model's own.
    `text_of_last` returns what the last of some tokens adds to their text.

    >>> drafts = [Draft(2, [5, 6, 7]), Draft(4, []), Draft(5, [9, 9])]
    >>> for step in follow_drafts(drafts, [1, 4, 5, 8, 8, 9], lambda ids: str(ids[-1])):
    ...     print(step.drafted, step.accepted, repr(step.added))
    ['5', '6', '7'] 1 '8'
    [] 0 '8'
    ['9', '9'] 1 ''
    """
    steps = []
    for place, draft in enumerate(drafts[:MOST_STEPS]):
        rest = ids[draft.start :]
        agreeing = zip(draft.ids, rest, strict=False)
        accepted = next((n for n, (one, other) in enumerate(agreeing) if one != other), None)
        accepted = min(len(draft.ids), len(rest)) if accepted is None else accepted
        if place + 1 < len(drafts):  # the token after those may agree by chance
            accepted = min(accepted, drafts[place + 1].start - draft.start - 1)
        before = ids[: draft.start]
        added = ids[: draft.start + accepted + 1]
        steps.append(
            DraftStep(
                drafted=[
                    text_of_last([*before, *draft.ids[: n + 1]]) for n in range(len(draft.ids))
                ],
                accepted=accepted,
                added=text_of_last(added) if accepted < len(rest) else "",
            )
        )
    return steps
