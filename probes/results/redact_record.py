"""Redaction of a record: every text that an author, a model or a library wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes._util.redaction import Redactor
    from probes.schema.record import Check, ClaimRecord, Rate, Record


def redact_check(redactor: Redactor, check: Check) -> Check:
    """Redact a check's name, reason and evidence."""
    return check.model_copy(
        update={
            "name": redactor.redact_text(check.name),
            "reason": redactor.redact_text(check.reason),
            "values": redactor.redact_value(check.values),
        }
    )


def redact_claim(redactor: Redactor, claim: ClaimRecord) -> ClaimRecord:
    """Redact what a claim's author wrote; its id and section are names, and stay."""
    return claim.model_copy(
        update={
            "title": redactor.redact_text(claim.title),
            "differs": redactor.redact_text(claim.differs),
        }
    )


def redact_rate(redactor: Redactor, rate: Rate) -> Rate:
    """Redact the reason for which a rate was not measured."""
    return rate.model_copy(update={"reason": redactor.redact_text(rate.reason)})


def redact_record(redactor: Redactor, record: Record) -> Record:
    """Redact every claim, check and rate of a record."""
    claims = [
        redact_claim(redactor, claim).model_copy(
            update={
                "reason": redactor.redact_text(claim.reason),
                "evidence": tuple(redact_check(redactor, check) for check in claim.evidence),
            }
        )
        for claim in record.claims
    ]
    rates = tuple(redact_rate(redactor, rate) for rate in record.throughput)
    return record.model_copy(update={"claims": tuple(claims), "throughput": rates})
