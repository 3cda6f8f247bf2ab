"""Redact every text in a record that an author, a model or a library wrote."""

from __future__ import annotations

from typing import TypeVar

from probes._util.redaction import Redactor
from probes.schema.record import Check, ClaimRecord, Rate, Record

_Part = TypeVar("_Part", Check, ClaimRecord, Rate)

FIELDS: dict[type, tuple[str, ...]] = {
    Check: ("name", "reason", "values"),
    ClaimRecord: ("title", "differs", "reason"),
    Rate: ("reason",),
}
"""The fields of each part that hold such texts; a claim's id and section are names, and stay."""


def redact(redactor: Redactor, part: _Part) -> _Part:
    """Return a check, a claim or a rate redacted; a claim's checks are not."""
    fields = FIELDS[type(part)]
    return part.model_copy(
        update={name: redactor.redact_value(getattr(part, name)) for name in fields}
    )


def redact_record(redactor: Redactor, record: Record) -> Record:
    """Return a record with every claim, check and rate redacted."""
    claims = [
        redact(redactor, claim).model_copy(
            update={"evidence": tuple(redact(redactor, check) for check in claim.evidence)}
        )
        for claim in record.claims
    ]
    rates = tuple(redact(redactor, rate) for rate in record.throughput)
    return record.model_copy(update={"claims": tuple(claims), "throughput": rates})
