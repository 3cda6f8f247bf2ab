"""Check that logits stay the same in any number of equal rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from probes.engines.base import LogitsEngine
from probes.measure.differing_layer import find_in_rows
from probes.measure.rounding_noise import as_texts, simulate_noise
from probes.stats.rounding import largest_distance_change, logit_tolerance

ROWS = (1, 4, 5, 8, 32, 1536)
"""Numbers of rows at once: on both sides of where libraries are known to change kernels."""

LIKELY = 5
"""Most likely logits of a row that are compared."""

SIMULATED_ROWS = 64
"""Equal rows of one token whose rounding errors are simulated: enough for a narrow tolerance."""


@dataclass(frozen=True)
class RowCount:
    """How logits change when several equal rows are computed at once."""

    rows: int  # kernels are chosen by their number, those of 4-bit weights above all
    noise: float  # largest change of the distance of a likely logit to the largest of one row alone
    tolerance: float  # the largest noise that rounding explains
    flips: int  # rows with another most likely token than one row alone
    margin: float  # distance of the two largest logits of one row alone
    layer: str = ""  # where rounding does not explain it: in which decoder layer it first differs

    @property
    def explained(self) -> bool:
        """Whether rounding explains all."""
        return self.noise <= self.tolerance and (not self.flips or self.margin <= self.tolerance)


@torch.inference_mode()
def compare_row_counts(
    model: LogitsEngine, token: int, counts: Sequence[int] = ROWS
) -> list[RowCount]:
    """Compute the logits after one token, the same in every row, at several numbers of rows.

    >>> [each.rows for each in compare_row_counts(load("embedded"), 415, counts=(1, 4, 5))]
    [1, 4, 5]
    """
    (alone,) = model.logits_batch([[token]])
    two, likely = alone[0].topk(2).values, alone[0].topk(min(LIKELY, alone.shape[1])).indices
    tolerance = logit_tolerance([alone], model.facts().dtype)
    if "weights" in model.capabilities:
        tolerance = simulate_noise(model, as_texts([[token]] * SIMULATED_ROWS)).tolerance
    found = []
    for count in counts:
        rows = model.logits_batch([[token]] * count)
        # Whole rows are gigabytes: a copy has the likely logits alone.
        few = torch.cat([row[:, likely] for row in rows])
        change = largest_distance_change(alone[:, likely].expand(count, -1), few, top=LIKELY)
        flips = sum(int(row[0].argmax()) != int(likely[0]) for row in rows)
        margin = float(two[0] - two[1])
        each = RowCount(count, change, tolerance, flips, margin)
        if not each.explained and "weights" in model.capabilities:
            layer = find_in_rows(model, token, count, SIMULATED_ROWS)
            each = replace(each, layer=layer)
        found.append(each)
    return found
