"""The budget of `--claim-budget`: what is decided first, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest

from probes.errors import UserError
from probes.plugin.collection import TestState, state_of
from probes.plugin.session import Session, session_of
from probes.schema.claim import Kind
from probes.schema.record import Record, Verdict


def parse_budget(text: str | None) -> float | None:
    """Return the seconds that `--claim-budget` names; None without it.

    >>> parse_budget("90")
    90.0
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UserError(f"--claim-budget needs a number of seconds above 0, not {text!r}")
    return seconds


def sort_by_urgency(items: list[pytest.Item]) -> None:
    """Put contracts first, then expected observations, then others; the most expensive last.

    The checks of a claim, and those of a target, stay together. Where nothing is known of a target,
    claims that compute forward passes count as dearer than those that do not.
    """
    if not items or (session := session_of(items[0].config)).budget is None:
        return
    targets = {name: place for place, name in enumerate(session.targets)}
    times = {name: session.expected_times(name) for name in targets}

    def urgency(item: pytest.Item) -> tuple[int, int, bool, float, str]:
        state = state_of(item)
        if state.claim is None:
            return -1, 0, False, 0.0, ""
        first, claim = state.targets[0], state.claim.id
        time = times[first].of(claim)
        computes = time.share > 0 and not times[first].earlier
        return targets[first], _rank(session, state), computes, time.alone, claim

    items.sort(key=urgency)


def _rank(session: Session, state: TestState) -> int:
    assert state.claim is not None
    if state.claim.kind is Kind.CONTRACT:
        return 0
    return 1 if any(session.is_expected(each, state.claim) for each in state.targets) else 2


def why_left_out(session: Session, target: str, claim: str) -> str | None:
    """Return why a check is left out: its claim does not fit the rest of the budget; else None.

    All checks of a claim fit or none does, but for one that takes longer than was expected.
    """
    budget, forecast = session.budget, session.forecasts.get(target)
    if budget is None or forecast is None:
        return None
    key = target, claim
    if key not in session.over_budget:
        rest = forecast.seconds_of(claim) or 0.0  # unknown where nothing is measured: try it
        session.over_budget[key] = forecast.spent + rest > budget
    if session.over_budget[key] or forecast.spent >= budget:
        return f"over budget ({budget:g} s)"
    return None


def has_left_out(records: Iterable[Record]) -> bool:
    """Return whether a budget left out a contract, or an observation that is expected."""
    return any(
        claim.expected and any(check.verdict is Verdict.NOT_DECIDED for check in claim.evidence)
        for record in records
        for claim in record.claims
    )
