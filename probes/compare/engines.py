"""Differences between what an engine did in two runs, each beside its reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from probes.schema.comparison import ChangedSteps, ChangedText, Difference, Outcome
from probes.schema.evidence.engines import (
    EngineDistance,
    EnginePairs,
    EnginePower,
    EngineStep,
    EngineSteps,
    SettingsInForce,
)
from probes.schema.record import Check

COMPARED_HERE = (EngineSteps, EngineDistance, EnginePairs, SettingsInForce, EnginePower)
"""Of draws, the settings that they follow are compared: a server need not repeat the draws."""


def list_names_apart(old: Check, new: Check) -> set[str]:
    """Return the names of evidence that is compared here, or not at all."""
    return {
        name
        for shape in COMPARED_HERE
        if all(shape.read(each.values) is not None for each in (old, new))
        for name in shape.model_fields
    }


def find_changed_engine(old: Check, new: Check) -> Iterator[Difference]:
    """Yield how an engine's greedy texts changed from one run of a check to another."""
    before, after = EngineSteps.read(old.values), EngineSteps.read(new.values)
    if before is not None and after is not None:
        yield from _compare_steps(new.name, before, after)
    draws = SettingsInForce.read(old.values), SettingsInForce.read(new.values)
    if draws[0] is not None and draws[1] is not None and draws[0].in_force != draws[1].in_force:
        yield Difference(
            check=new.name,
            name="settings in force",
            outcome=Outcome.CHANGED,
            old=draws[0].in_force,
            new=draws[1].in_force,
        )
    pairs = EnginePairs.read(old.values), EnginePairs.read(new.values)
    if pairs[0] is not None and pairs[1] is not None:
        then, now = (sum(pair.step is not None for pair in one.pairs) for one in pairs if one)
        if then != now:  # the verdict says whether they are near-ties
            yield Difference(
                check=new.name,
                name="pairs of texts that differ",
                outcome=Outcome.DRIFTED,
                old=then,
                new=now,
            )


def _compare_steps(check: str, old: EngineSteps, new: EngineSteps) -> Iterator[Difference]:
    """Compare texts token by token, each up to its first difference.

    In each run rounding moves the distance of two tokens by up to its tolerance from the
    reference's: by as much as both tolerances from one run to the other.
    """
    explained = old.tolerance + new.tolerance
    before, after = _by_prompt(old), _by_prompt(new)
    moved: list[_Step] = []
    texts: list[ChangedText] = []
    for prompt in (prompt for prompt in before if prompt in after):
        both = zip(before[prompt], after[prompt], strict=False)
        same = 0
        for one, other in both:
            if one.token != other.token:
                break
            moved.append(_Step(abs(other.engine - one.engine), other))
            same += 1
        if text := _find_change(before[prompt][same:], after[prompt][same:], explained):
            texts.append(text)
    if not moved and not texts:
        return
    largest = max(moved, key=lambda step: step.change, default=None)
    if not texts and largest is not None and largest.change <= explained:
        return
    changed = any(not text.near_tie for text in texts)
    yield Difference(
        check=check,
        name="engine_steps",
        outcome=Outcome.CHANGED if changed else Outcome.DRIFTED,
        old=_mean_divergence(old),
        new=_mean_divergence(new),
        steps=ChangedSteps(
            compared=len(moved),
            largest=largest.change if largest else 0.0,
            prompt=largest.now.prompt if largest else "",
            position=largest.now.position if largest else 0,
            explained=explained,
            texts=tuple(texts),
        ),
    )


class _Step(NamedTuple):
    """A token of both runs, after the same beginning."""

    change: float
    now: EngineStep


def _by_prompt(found: EngineSteps) -> dict[str, list[EngineStep]]:
    texts: dict[str, list[EngineStep]] = {}
    for step in found.engine_steps:
        texts.setdefault(step.prompt, []).append(step)
    return texts


def _find_change(
    old: list[EngineStep], new: list[EngineStep], explained: float
) -> ChangedText | None:
    """Return where two texts go on with other tokens; None if neither goes on."""
    if not old and not new:
        return None
    first = (old or new)[0]
    near_tie = bool(old and new) and abs(old[0].reference - new[0].reference) <= explained
    return ChangedText(
        prompt=first.prompt,
        position=first.position,
        old=old[0].token if old else None,
        new=new[0].token if new else None,
        near_tie=near_tie,
    )


def _mean_divergence(found: EngineSteps) -> float:
    return sum(step.divergence for step in found.engine_steps) / max(1, len(found.engine_steps))
