"""Decide the outcome of a claim: one pure function."""

from __future__ import annotations

from collections.abc import Collection

from probes.schema.claim import Kind
from probes.schema.comparison import Outcome
from probes.schema.evidence.shape import Measured
from probes.schema.record import BROKEN, OPEN, Check, ClaimRecord, Verdict

UNDECIDED = (*OPEN, Verdict.NOT_APPLICABLE)


def decide_outcome(
    old: ClaimRecord | None, new: ClaimRecord | None, evidence: Collection[Outcome] = ()
) -> Outcome:
    """Return a claim's outcome from one run to another; None is a run without the claim.

    A claim that is broken now and was not broken before is newly failing, also if it was undecided.
    `evidence` has the outcomes of its evidence. Raises ValueError if neither run has the claim.

    >>> from probes.schema.claim import Status
    >>> from probes.schema.record import ClaimRecord
    >>> holds = ClaimRecord(id="c", section="s", title="t", status=Status.OURS, verdict="holds")
    >>> fails = holds.model_copy(update={"verdict": Verdict.FAILS})
    >>> decide_outcome(holds, fails).value, decide_outcome(fails, holds).value
    ('newly failing', 'fixed')
    >>> decide_outcome(holds, holds, [Outcome.DRIFTED]).value
    'drifted'
    """
    if old is None and new is None:
        raise ValueError("there is no claim to compare")
    was_broken = old is not None and old.verdict in BROKEN
    if new is not None and new.verdict in BROKEN and not was_broken:
        return Outcome.NEWLY_FAILING
    if old is None:
        return Outcome.ADDED
    if new is None:
        return Outcome.REMOVED
    if was_broken and new.verdict is Verdict.HOLDS:
        return Outcome.FIXED
    has_same_verdict = old.verdict is new.verdict
    has_same_reason = has_same_verdict and old.reason == new.reason
    if old.verdict in UNDECIDED or new.verdict in UNDECIDED:
        is_same = has_same_reason and new.verdict is Verdict.NOT_APPLICABLE
        return Outcome.SAME if is_same else Outcome.NOT_COMPARABLE
    is_changed = not has_same_verdict or (was_broken and not has_same_reason)
    if is_changed or Outcome.CHANGED in evidence:
        return Outcome.CHANGED
    return Outcome.DRIFTED if Outcome.DRIFTED in evidence else Outcome.SAME


_OBSERVED: dict[Verdict | None, bool] = {
    Verdict.HOLDS: True,
    Verdict.FAILS: False,
    Verdict.NOT_OBSERVED: False,
}


def is_near_the_line(old: ClaimRecord, new: ClaimRecord) -> bool:
    """Return whether an observation flips and the quantity measured hardly moves.

    Each check that flips must have measured one (`Measured`), within the other run's interval.
    """
    if new.kind is not Kind.OBSERVATION or not _flips(old, new):
        return False
    before, after = ({check.name: check for check in claim.evidence} for claim in (old, new))
    names = list_moved_checks(old, new)
    same_checks = before.keys() == after.keys()
    return same_checks and bool(names) and all(_agree(before[n], after[n]) for n in names)


def list_moved_checks(old: ClaimRecord, new: ClaimRecord) -> list[str]:
    """Return the names of the checks of both runs that have another verdict now."""
    before = {check.name: check.verdict for check in old.evidence}
    return [each.name for each in new.evidence if each.verdict is not before.get(each.name)]


def _flips(old: ClaimRecord | Check, new: ClaimRecord | Check) -> bool:
    return {_OBSERVED.get(each.verdict) for each in (old, new)} == {True, False}


def _agree(old: Check, new: Check) -> bool:
    before, after = Measured.read(old.values), Measured.read(new.values)
    return _flips(old, new) and before is not None and after is not None and before.agrees(after)
