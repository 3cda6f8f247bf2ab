"""What became of a claim: one pure function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.schema.comparison import Outcome
from probes.schema.record import Verdict

if TYPE_CHECKING:
    from collections.abc import Collection

    from probes.schema.record import ClaimRecord

BROKEN = (Verdict.FAILS, Verdict.ERROR)
UNDECIDED = (None, Verdict.NOT_APPLICABLE)


def outcome(
    old: ClaimRecord | None, new: ClaimRecord | None, evidence: Collection[Outcome] = ()
) -> Outcome:
    """What became of a claim from one run to another.

    A claim that is broken now and was not broken before is newly failing, whatever it was before.

    Args:
        old: the claim in the old run; None if that had no such claim.
        new: the claim in the new run.
        evidence: what became of the parts of its evidence.

    Raises:
        ValueError: neither run has the claim.

    >>> from probes.schema.claim import Status
    >>> from probes.schema.record import ClaimRecord
    >>> claim = ClaimRecord(id="c", section="s", title="t", status=Status.OURS)
    >>> holds = claim.model_copy(update={"verdict": Verdict.HOLDS})
    >>> fails = claim.model_copy(update={"verdict": Verdict.FAILS})
    >>> outcome(holds, fails).value, outcome(fails, holds).value, outcome(holds, None).value
    ('newly failing', 'fixed', 'removed')
    >>> outcome(holds, holds, [Outcome.DRIFTED]).value
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
    return _between(old, new, evidence)


def _between(old: ClaimRecord, new: ClaimRecord, evidence: Collection[Outcome]) -> Outcome:
    """The same where no verdict turned from good to bad or back."""
    if old.verdict in UNDECIDED or new.verdict in UNDECIDED:
        alike = old.verdict is new.verdict is Verdict.NOT_APPLICABLE and old.reason == new.reason
        return Outcome.SAME if alike else Outcome.NOT_COMPARABLE
    otherwise_broken = old.verdict in BROKEN and old.reason != new.reason
    if old.verdict is not new.verdict or otherwise_broken or Outcome.CHANGED in evidence:
        return Outcome.CHANGED
    return Outcome.DRIFTED if Outcome.DRIFTED in evidence else Outcome.SAME
