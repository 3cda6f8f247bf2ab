"""What a comparison finds between the evidence of one check in two runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.compare.evidence import Rounding, find_differences
from probes.schema.comparison import Difference
from probes.schema.evidence.shape import Shape
from probes.schema.record import ClaimRecord
from tests.support.samples import check, planned


def differences(
    old: Shape | Mapping[str, Any],
    new: Shape | Mapping[str, Any],
    noise: float = 1e-6,
    claim: str = "c",
    **more: Any,
) -> list[Difference]:
    """Compare the values of a claim's one check in two runs; `more` is for Rounding."""

    def run(values: Shape | Mapping[str, Any]) -> ClaimRecord:
        kept = values.as_evidence() if isinstance(values, Shape) else dict(values)
        return planned(claim, evidence=(check(values=kept),))

    return find_differences(run(old), run(new), Rounding(noise, **more))
