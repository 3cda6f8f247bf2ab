"""Fold what a run wrote while it ran into its record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from probes.schema.claim import Claim, Status
from probes.schema.record import (
    BROKEN,
    Check,
    ClaimRecord,
    Cost,
    Environment,
    Rate,
    Record,
    TargetFacts,
    Verdict,
)


def fold_record(
    header: Record,
    facts: Iterable[tuple[TargetFacts, Environment]] = (),
    checks: Iterable[tuple[str, Check]] = (),
    finished: str | None = None,
    rates: Iterable[Rate] = (),
) -> Record:
    """Make the record of a run.

    `header` is the plan, without evidence; `facts` come oldest first, from any worker. `checks`,
    each with its claim's id, and `rates` keep their order; a claim that was not planned is kept
    too. `finished` is None for a run that was stopped.
    """
    evidence: dict[str, list[Check]] = {claim.id: [] for claim in header.claims}
    for claim_id, check in checks:
        evidence.setdefault(claim_id, []).append(check)
    planned = {claim.id: claim for claim in header.claims}
    claims = tuple(
        decide_claim(planned.get(claim_id) or _unplanned(claim_id), checks_of_claim)
        for claim_id, checks_of_claim in evidence.items()
    )
    target, environment = _merge_facts(header, list(facts))
    return header.model_copy(
        update={
            "finished": finished,
            "complete": finished is not None and all(_is_whole(claim) for claim in claims),
            "target": target,
            "environment": environment,
            "cost": sum((claim.cost for claim in claims), Cost()),
            "claims": claims,
            "throughput": tuple(rates),
        }
    )


def _is_whole(claim: ClaimRecord) -> bool:
    """Return whether every planned check was made: not one that a budget left out."""
    left_out = any(check.verdict is Verdict.NOT_DECIDED for check in claim.evidence)
    return len(claim.evidence) >= claim.planned and not left_out


def decide_claim(claim: ClaimRecord, evidence: Sequence[Check]) -> ClaimRecord:
    """Return a claim with its checks, and what follows from them."""
    verdict, reason = decide_verdict(evidence, claim.planned)
    broken = [check.known_failure for check in evidence if check.verdict in BROKEN]
    return claim.model_copy(
        update={
            "verdict": verdict,
            "reason": reason,
            "known_failure": broken[0] if all(broken) and broken else "",
            "evidence": tuple(evidence),
        }
    )


def decide_verdict(checks: Sequence[Check], planned: int) -> tuple[Verdict | None, str]:
    """Return the verdict of a claim from its checks, with its reason.

    One failing check fails the claim; else one error makes it an error; else one check that did
    not observe what it states decides; else one check that was left out leaves it not decided; else
    the claim holds if every planned check was made and at least one held. A stopped run leaves it
    without a verdict.

    >>> decide_verdict([Check(name="a", verdict=Verdict.HOLDS)], planned=2)
    (None, 'stopped after 1 of 2 checks')
    """
    decisive = (Verdict.FAILS, Verdict.ERROR, Verdict.NOT_OBSERVED, Verdict.NOT_DECIDED)
    for verdict in decisive:
        for check in checks:
            if check.verdict is verdict:
                return verdict, _first_line(check.reason)
    if len(checks) < planned:
        return None, f"stopped after {len(checks)} of {planned} checks"
    if any(check.verdict is Verdict.HOLDS for check in checks):
        return Verdict.HOLDS, ""
    return Verdict.NOT_APPLICABLE, _first_line(checks[0].reason) if checks else "no check was made"


def _first_line(reason: str) -> str:
    return next((line.strip() for line in reason.splitlines() if line.strip()), "")


def _unplanned(claim_id: str) -> ClaimRecord:
    section = str(Claim.model_fields["section"].default)
    return ClaimRecord(id=claim_id, section=section, title=claim_id, status=Status.OURS)


def _merge_facts(
    header: Record, facts: list[tuple[TargetFacts, Environment]]
) -> tuple[TargetFacts, Environment]:
    """Merge facts: no unknown value replaces a known one, and all workers' devices are listed."""
    target, environment = header.target.model_dump(), header.environment.model_dump()
    for known_target, known_environment in facts:
        target |= _known_values(known_target)
        environment |= _known_values(known_environment)
    devices = sorted({known.device for known, _ in facts} - {"auto"})
    if devices:
        target["device"] = ", ".join(devices)
    workers = [header.environment.workers, *(known.workers for _, known in facts)]
    environment["workers"] = max(workers)
    return TargetFacts(**target), Environment(**environment)


def _known_values(facts: TargetFacts | Environment) -> dict[str, object]:
    unknown = (None, "auto")
    return {key: value for key, value in facts.model_dump().items() if value not in unknown}
