"""Compare two records."""

from __future__ import annotations

import os
from typing import TypeAlias

from probes.compare.drift import measure_drift
from probes.compare.evidence import Rounding, find_differences
from probes.compare.logprobs import combine_noise, read_kept_logits
from probes.compare.outcomes import UNDECIDED, decide_outcome, is_near_the_line, list_moved_checks
from probes.compare.speed import compare_rates, compare_times
from probes.errors import UserError
from probes.results.reading import read
from probes.schema.comparison import Change, ClaimComparison, Comparison, Run
from probes.schema.evidence.quantization import QuantizationCost, QuantizationCosts
from probes.schema.record import UNKNOWN, ClaimRecord, Record

Source: TypeAlias = Record | str | os.PathLike[str]
"""A record, or a path that `read` takes."""


def compare(
    old: Source, new: Source, *, across_targets: bool = False, decided_now: bool = False
) -> Comparison:
    """Compare two records of one target, or those at two paths.

    Raises UserError for two targets, and for what is no record. With `across_targets` two targets
    are allowed. With `decided_now` claims that the new run did not plan to decide are left out.
    """
    old, new = _open(old), _open(new)
    if old.target.name != new.target.name and not across_targets:
        raise UserError(
            f"the records are of two targets, {old.target.name!r} and {new.target.name!r}: "
            "compare runs on one target, or allow it with --across-targets"
        )
    before, after = read_kept_logits(old), read_kept_logits(new)
    noise = combine_noise(before, after, same_dtype=old.target.dtype == new.target.dtype)
    rounding = Rounding(noise.noise, (before.texts, after.texts))
    old_claims, new_claims = ({claim.id: claim for claim in run.claims} for run in (old, new))
    ids = dict.fromkeys([*new_claims, *([] if decided_now else old_claims)])
    return Comparison(
        old=_run(old),
        new=_run(new),
        environment=tuple(_environment_changes(old, new)),
        claims=tuple(_claim(old_claims.get(i), new_claims.get(i), rounding) for i in ids),
        drift=measure_drift(before, after, noise),
        speed=compare_times(old, new),
        throughput=compare_rates(old.throughput, new.throughput),
        quantizations=merge_quantizations(old, new),
    )


def _open(source: Source) -> Record:
    if isinstance(source, Record):
        return source
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(
            f"a comparison takes records, or paths of records, not {type(source).__name__}: "
            "probes.read_record gives a record"
        )
    return read(source)


def _run(record: Record) -> Run:
    return Run(
        target=record.target.name,
        started=record.started,
        suite=record.suite,
        complete=record.complete,
    )


def _claim(old: ClaimRecord | None, new: ClaimRecord | None, rounding: Rounding) -> ClaimComparison:
    either = new or old
    assert either is not None
    found = []
    if old is not None and new is not None and not {old.verdict, new.verdict} & {*UNDECIDED}:
        found = find_differences(old, new, rounding)
    near = old is not None and new is not None and is_near_the_line(old, new)
    # A flip that is no change leaves what differs in the checks beside it.
    flipped = list_moved_checks(old, new) if near and old and new else []
    differing = {each.outcome for each in found if each.check or each.name not in flipped}
    return ClaimComparison(
        id=either.id,
        section=either.section,
        title=either.title,
        outcome=decide_outcome(old, old if near else new, differing),
        near_the_line=near,
        old=old.verdict if old else None,
        new=new.verdict if new else None,
        old_reason=old.reason if old else "",
        new_reason=new.reason if new else "",
        differences=tuple(found),
    )


def _environment_changes(old: Record, new: Record) -> list[Change]:
    """Return what differs in target and environment, of the facts that both runs know."""
    before, after = _facts(old), _facts(new)
    return [
        Change(name=name, old=before.get(name, "absent"), new=after.get(name, "absent"))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
        and ((name in before and name in after) or name.startswith("package "))
    ]


def _facts(record: Record) -> dict[str, str]:
    """Return target and environment as texts by name, as far as they are known."""
    facts: dict[str, str] = {"suite": record.suite}
    if record.seed is not None:
        facts["seed"] = str(record.seed)
    for part in (record.target, record.environment):
        facts |= {
            name.replace("_", " "): str(value)
            for name, value in part.model_dump(exclude={"packages"}).items()
            if value not in UNKNOWN
        }
    if "fingerprint" in facts:
        facts["model files"] = facts.pop("fingerprint")[:12]
    packages = record.environment.packages
    return facts | {f"package {name}": version for name, version in packages.items()}


def merge_quantizations(old: Record, new: Record) -> tuple[QuantizationCost, ...]:
    """Return each quantization once, the larger first: with the new record's numbers if it has any.

    None where both records have the same ones: what changed in their numbers is listed as in all
    evidence. Two runs, each with its own quantization of a model, give the table that one run of
    both does.
    """
    before, after = ({c.kind: c for c in _list_costs(record)} for record in (old, new))
    if before.keys() == after.keys():
        return ()
    return tuple(sorted((before | after).values(), key=lambda cost: -cost.bytes))


def _list_costs(record: Record) -> list[QuantizationCost]:
    checks = (check for claim in record.claims for check in claim.evidence)
    found = (QuantizationCosts.read(check.values) for check in checks)
    return [cost for costs in found if costs is not None for cost in costs.quantization_costs]
