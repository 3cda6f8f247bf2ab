"""Upgrade a record of an older format, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from probes.results.folding import decide_claim
from probes.schema.claim import KNOWLEDGE, Kind, catalogue
from probes.schema.record import ClaimRecord, Record, Verdict, to_storable

_MOVED = {("load-nf4", "test_4_bit_logits_stay_close"): "quantization-cost"}
"""Checks of a contract that decide an observation now, by the contract's id and their name."""

_MISTRAL_7B = "mistralai/Mistral-7B-v0.1"


def _add_throughput(data: dict[str, Any]) -> dict[str, Any]:
    """Format 1 had no throughput: none was measured."""
    return data | {"schema_version": 2, "throughput": []}


def _add_kinds(data: dict[str, Any]) -> dict[str, Any]:
    """Format 2 had contracts only. What the target did not declare to know is not observed now."""
    record = Record.model_validate(to_storable(data | {"schema_version": 3}))
    expects = _declares_knowledge(record)
    claims = [_add_kind(part, expects) for claim in record.claims for part in _split(claim)]
    return record.model_copy(update={"claims": tuple(claims)}).model_dump(mode="json")


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _add_throughput,
    2: _add_kinds,
}
"""By version, the function that turns a record of that version into one of the next."""


def _declares_knowledge(record: Record) -> bool:
    """Return whether the target declared knowledge: where it did not, no claim needed it."""
    known = record.target.source == "embedded" or record.target.repository == _MISTRAL_7B
    return known or any(
        KNOWLEDGE in claim.needs and claim.verdict not in (None, Verdict.NOT_APPLICABLE)
        for claim in record.claims
    )


def _split(claim: ClaimRecord) -> Iterator[ClaimRecord]:
    """Yield a claim without the checks that moved, and the claims that they moved to."""
    moved = [check for check in claim.evidence if (claim.id, check.name) in _MOVED]
    kept = [check for check in claim.evidence if check not in moved]
    if not moved:
        yield claim
        return
    yield decide_claim(claim.model_copy(update={"planned": claim.planned - len(moved)}), kept)
    for check in moved:
        stated = dict(catalogue()[_MOVED[claim.id, check.name]])
        alone = stated | {"planned": 1, "deselected": 0}
        yield decide_claim(claim.model_copy(update=alone), [check])


def _add_kind(claim: ClaimRecord, expects: bool) -> ClaimRecord:
    known = catalogue().get(claim.id)
    kind = Kind.OBSERVATION if KNOWLEDGE in claim.needs else Kind.CONTRACT
    kind = kind if known is None else known.kind
    if kind is Kind.CONTRACT or expects:
        return claim.model_copy(update={"kind": kind})
    claim = claim.model_copy(update={"kind": kind, "expected": False})
    if claim.verdict is not Verdict.FAILS:
        return claim
    relaxed = {"verdict": Verdict.NOT_OBSERVED}
    checks = [
        check.model_copy(update=relaxed) if check.verdict is Verdict.FAILS else check
        for check in claim.evidence
    ]
    return decide_claim(claim, checks)
