"""One test: what is checked before it, and the message that it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from probes._util import progress
from probes._util.text import shorten
from probes.errors import (
    EndpointFailedError,
    OverTokenBudgetError,
    UndecidableError,
    UnusableTargetError,
)
from probes.plugin import budget, verdicts
from probes.plugin.collection import TestState, name_of, state_of, target_parameter
from probes.plugin.evidence import as_json
from probes.plugin.run import Message
from probes.plugin.session import Session, session_of
from probes.schema.claim import Claim
from probes.schema.record import BROKEN, Check, Cost, Verdict


def skip_if_missing(item: pytest.Item) -> None:
    """Skip a test of a claim that no target of it can decide, or that is over budget."""
    state, session = state_of(item), session_of(item.config)
    if state.claim is None:
        return
    if (target := target_parameter(item)) is not None:
        state.cost_before = session.cost(target)
    state.loading_before = progress.total_seconds()
    for target in state.targets:
        reason = session.missing(target, state.needs)
        if reason is not None:
            state.missing[target] = reason
    if state.missing.keys() >= set(state.targets):
        reason = next(iter(state.missing.values()))
        raise pytest.skip.Exception(reason, _use_item_location=True)
    if why := budget.why_left_out(session, state.targets[0], state.claim.id):
        state.left_out = why
        raise pytest.skip.Exception(why, _use_item_location=True)


@contextmanager
def skip_undecidable() -> Iterator[None]:
    """Skip where the model turns out to be unable to decide a claim, with the reason.

    So does one that would take more tokens than a run may ask for.
    """
    try:
        yield
    except (UndecidableError, OverTokenBudgetError) as error:
        raise pytest.skip.Exception(str(error), _use_item_location=True) from error


def attach_messages(
    item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport
) -> None:
    """Attach to a phase's report what it is to tell the controller."""
    state = state_of(item)
    if not state.targets:
        return
    error = None if call.excinfo is None else call.excinfo.value
    if isinstance(error, UnusableTargetError):
        report.longrepr = "the target cannot be loaded"
    elif isinstance(error, EndpointFailedError):
        report.longrepr = str(error)
    elif crash := getattr(report.longrepr, "reprcrash", None):
        # On GitHub pytest shows all of it in one line, and a model may have written megabytes.
        crash.message = shorten(crash.message, verdicts.LONGEST_REASON)
    phase = _phase(report, call)
    state.phases.append(phase)
    if phase.error is not None and isinstance(phase.error.__cause__, OverTokenBudgetError):
        state.left_out = phase.reason
    if _is_not_observed(item, phase):
        report.outcome = "skipped"
        report.wasxfail = "not observed"
        report.probes_not_observed = True  # type: ignore[attr-defined]
    messages = _results(item) if report.when == "teardown" else _announcement(item)
    report.probes_messages = [  # type: ignore[attr-defined]
        message.model_dump_json() for message in messages
    ]


def _is_not_observed(item: pytest.Item, phase: verdicts.Phase) -> bool:
    """Return whether a phase failed only by an observation that no target of its test expects."""
    state, session = state_of(item), session_of(item.config)
    claim = state.claim
    return (
        phase.outcome == "failed"
        and claim is not None
        and verdicts.decide([phase], expected=False)[0] is Verdict.NOT_OBSERVED
        and not any(
            session.is_expected(target, claim)
            for target in state.targets
            if target not in state.missing
        )
    )


def _announcement(item: pytest.Item) -> list[Message]:
    """Return what is about to be decided, so that a check that kills its process is known."""
    session = session_of(item.config)
    expected, session.expected = session.expected, {}
    return [session.message(state_of(item).targets[0], expected=expected)] if expected else []


def _results(item: pytest.Item) -> list[Message]:
    """Return what a test found out, a message for each target; none if it found nothing."""
    state, session = state_of(item), session_of(item.config)
    errors = [p.error for p in state.phases if isinstance(p.error, UnusableTargetError)]
    found: dict[str, Any] = {"unusable": str(errors[0]) if errors else None}
    if state.rates:
        found["rates"] = tuple(state.rates)
    if state.claim is not None:
        _count(session, state, state.claim)
        found |= {"claim": state.claim.id, "place": state.place}
        checks = _checks(item, state, state.claim)
        return [session.message(name, check=check, **found) for name, check in checks.items()]
    return [session.message(state.targets[0], **found)] if any(found.values()) else []


def _checks(item: pytest.Item, state: TestState, claim: Claim) -> dict[str, Check]:
    """Return the check for each target's record; the first that was decided has the cost."""
    session, known = session_of(item.config), state.known_failure
    # Without an exception: it was expected to fail, and passed.
    is_outdated = bool(known) and any(p.outcome == "failed" and not p.error for p in state.phases)
    phases = verdicts.without_marks(state.phases) if known else state.phases
    values, cost = as_json(state.evidence)[0], _cost(item, state)
    checks = {}
    for target in state.targets:
        expected = session.is_expected(target, claim)
        verdict, reason = verdicts.decide(phases, expected=expected)
        check = Check(
            name=name_of(item),
            verdict=verdict,
            reason=f"it is known to fail, and holds now: {known}" if is_outdated else reason,
            known_failure=known if verdict in BROKEN and not is_outdated else "",
            values=values,
            cost=cost,
        )
        if check.verdict in BROKEN and any(p.outcome == "failed" for p in state.phases):
            cost = Cost()  # a fixture that failed: also where the check itself was left out
        elif state.left_out and target not in state.missing:
            # It may have asked a server for tokens before the budget was spent.
            undecided = {"verdict": Verdict.NOT_DECIDED, "reason": state.left_out, "values": {}}
            check = check.model_copy(update=undecided)
            cost = Cost()
        elif target in state.missing:
            check = Check(
                name=check.name, verdict=Verdict.NOT_APPLICABLE, reason=state.missing[target]
            )
        else:
            cost = Cost()
        checks[target] = check
    return checks


def _count(session: Session, state: TestState, claim: Claim) -> None:
    """Add what a test took to the forecast of its first target."""
    if (forecast := session.forecasts.get(state.targets[0])) is None:
        return
    forecast.add(
        claim.id,
        sum(phase.seconds for phase in state.phases),
        loading=progress.total_seconds() - state.loading_before,
        decided=not state.left_out and state.targets[0] not in state.missing,
    )


def _cost(item: pytest.Item, state: TestState) -> Cost:
    target = target_parameter(item)
    cost = Cost()
    if target is not None and state.cost_before is not None:
        cost = session_of(item.config).cost(target) - state.cost_before
    return cost.model_copy(update={"seconds": verdicts.seconds(state.phases)})


def _phase(report: pytest.TestReport, call: pytest.CallInfo[Any]) -> verdicts.Phase:
    error = None if call.excinfo is None else call.excinfo.value
    # A skip is kept as file, line and reason.
    skip = report.longrepr if isinstance(report.longrepr, tuple) else None
    reason = str(skip[2]) if skip else report.longreprtext
    kinds = (AssertionError, pytest.fail.Exception)
    return verdicts.Phase(
        when=report.when,
        outcome=report.outcome,
        seconds=report.duration,
        reason=reason.removeprefix("Skipped: "),
        error=error,
        is_assertion=error is not None
        and all(isinstance(e, kinds) for e in verdicts.leaves(error)),
        xfail=getattr(report, "wasxfail", None),
    )
