"""The quantizations that two records measured, in one list."""

from __future__ import annotations

from probes.schema.evidence.quantization import QuantizationCost, QuantizationCosts
from probes.schema.record import Record


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
