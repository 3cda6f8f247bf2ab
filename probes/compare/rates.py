"""Throughput of two runs, rate by rate, as ratios."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.schema.comparison import Estimate, RateRatio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probes.schema.record import Rate


def ratios(old: Iterable[Rate], new: Iterable[Rate]) -> tuple[RateRatio, ...]:
    """The rates that both runs measured of the same thing, as shares of the old one.

    What was measured with other sizes is left out: it is another quantity.

    Args:
        old: of the earlier run.
        new: of the later, in whose order they are given.

    >>> from probes.schema.record import Rate
    >>> slow = Rate(what="decode", unit="tokens", per_second=100.0, low=80.0, high=110.0)
    >>> fast = slow.model_copy(update={"per_second": 200.0, "low": 165.0, "high": 220.0})
    >>> [one] = ratios([slow], [fast])
    >>> one.ratio.value, one.ratio.low, one.ratio.high
    (2.0, 1.5, 2.75)
    """
    before = {rate.key: rate for rate in old}
    pairs = [(before[rate.key], rate) for rate in new if rate.key in before]
    found = [_ratio(*pair) for pair in pairs]
    return tuple(each for each in found if each is not None)


def _ratio(old: Rate, new: Rate) -> RateRatio | None:
    """One rate's ratio; None where one of the two was not measured, or at other sizes."""
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
        # What one run measures is not independent of when: the range makes no promise of 95 %.
        ratio=Estimate(
            value=new.per_second / old.per_second,
            low=new.low / old.high,
            high=new.high / old.low,
        ),
    )
