"""Compare the speed of two runs: the time of their checks, and their throughput."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from probes.compare.bootstrap import estimate
from probes.schema.comparison import Estimate, RateRatio
from probes.schema.record import Rate, Record

SHORTEST = 0.02
"""Seconds; a shorter check cannot be timed."""


def compare_times(old: Record, new: Record) -> Estimate | None:
    """Return the new run's time as a share of the old one's; None of fewer than 3 checks.

    Counted are checks that made the same forward passes over the same tokens in both runs and took
    long enough; the first of each run is left out, as it warms up.
    """
    before, after = _seconds(old), _seconds(new)
    pairs = np.array([(before[key], after[key]) for key in after if key in before])
    if len(pairs) < 3:
        return None

    def ratio(draws: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        old_sums, new_sums = pairs[draws].sum(axis=1).T
        return np.asarray(new_sums / old_sums)

    return estimate(len(pairs), ratio)


def _seconds(record: Record) -> dict[tuple[str, str, int, int], float]:
    """Return seconds by claim, check, forward passes and tokens."""
    seconds = {
        (claim.id, check.name, check.cost.forward_passes, check.cost.tokens): check.cost.seconds
        for claim in record.claims
        for check in claim.evidence
        if check.cost.forward_passes
    }
    return {key: took for key, took in [*seconds.items()][1:] if took >= SHORTEST}


def compare_rates(old: Iterable[Rate], new: Iterable[Rate]) -> tuple[RateRatio, ...]:
    """Return the rates that both runs measured at the same sizes, in the new run's order.

    >>> from probes.schema.record import Rate
    >>> slow = Rate(what="decode", unit="tokens", per_second=100.0, low=80.0, high=110.0)
    >>> fast = slow.model_copy(update={"per_second": 200.0, "low": 165.0, "high": 220.0})
    >>> [one] = compare_rates([slow], [fast])
    >>> one.ratio.value, one.ratio.low, one.ratio.high
    (2.0, 1.5, 2.75)
    """
    before = {rate.key: rate for rate in old}
    found = [_ratio(before[rate.key], rate) for rate in new if rate.key in before]
    return tuple(each for each in found if each is not None)


def _ratio(old: Rate, new: Rate) -> RateRatio | None:
    """Return one rate's ratio; None where a run did not measure it, or at other sizes."""
    sizes = {(rate.unit, rate.prompt_tokens, rate.new_tokens) for rate in (old, new)}
    if len(sizes) > 1 or not (old.per_second and old.low and old.high):
        return None
    if not (new.per_second and new.low and new.high):
        return None
    return RateRatio(
        what=new.what,
        unit=new.unit,
        batch=new.batch,
        cache=new.cache,
        compiled=new.compiled,
        old=old.per_second,
        new=new.per_second,
        # The repetitions of one run are not independent: the range is no 95 % interval.
        ratio=Estimate(
            value=new.per_second / old.per_second, low=new.low / old.high, high=new.high / old.low
        ),
    )
