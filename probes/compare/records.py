"""Comparing two records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probes.compare.drift import RESAMPLES, drift
from probes.compare.evidence import Explained, differences
from probes.compare.logprobs import kept, noise_between
from probes.compare.outcomes import UNDECIDED, outcome
from probes.compare.rates import ratios
from probes.errors import UserError
from probes.schema.comparison import Change, ClaimComparison, Comparison, Estimate, Run

if TYPE_CHECKING:
    from probes.schema.record import ClaimRecord, Record

TIMED = 0.02
"""Seconds; what took less cannot be timed."""

UNKNOWN = (None, "auto")


def compare(
    old: Record, new: Record, *, across_targets: bool = False, decided_now: bool = False
) -> Comparison:
    """Lay two records side by side.

    Args:
        old: the earlier, or the one trusted.
        new: the later, or the one in question.
        across_targets: whether they may be of two targets.
        decided_now: whether to leave out claims that the new run did not set out to decide.

    Raises:
        UserError: they are of two targets.
    """
    if old.target.name != new.target.name and not across_targets:
        raise UserError(
            f"the records are of two targets, {old.target.name!r} and {new.target.name!r}: "
            "compare runs on one target, or allow it with --across-targets"
        )
    before, after = kept(old), kept(new)
    noise = noise_between(before, after, same_dtype=old.target.dtype == new.target.dtype)
    explained = Explained(noise.noise, (before.texts, after.texts))
    claims = {claim.id: claim for claim in old.claims}, {claim.id: claim for claim in new.claims}
    return Comparison(
        old=_run(old),
        new=_run(new),
        environment=tuple(environment_changes(old, new)),
        claims=tuple(
            _claim(claims[0].get(name), claims[1].get(name), explained)
            for name in dict.fromkeys([*claims[1], *([] if decided_now else claims[0])])
        ),
        drift=drift(before, after, noise),
        speed=speed(old, new),
        throughput=ratios(old.throughput, new.throughput),
    )


def _claim(
    old: ClaimRecord | None, new: ClaimRecord | None, explained: Explained
) -> ClaimComparison:
    either = new or old
    assert either is not None
    found = []
    if old is not None and new is not None and not {old.verdict, new.verdict} & {*UNDECIDED}:
        found = differences(old, new, explained)
    return ClaimComparison(
        id=either.id,
        section=either.section,
        title=either.title,
        outcome=outcome(old, new, {difference.outcome for difference in found}),
        old=old.verdict if old else None,
        new=new.verdict if new else None,
        old_reason=old.reason if old else "",
        new_reason=new.reason if new else "",
        differences=tuple(found),
    )


def _run(record: Record) -> Run:
    return Run(
        target=record.target.name,
        started=record.started,
        suite=record.suite,
        complete=record.complete,
    )


def environment_changes(old: Record, new: Record) -> list[Change]:
    """What differs in target and environment, and only that.

    What one of the runs never came to know, as where it loaded no weights, is no difference.
    """
    before, after = _facts(old), _facts(new)
    named = dict.fromkeys([*before, *after])
    return [
        Change(name=name, old=before.get(name, "absent"), new=after.get(name, "absent"))
        for name in named
        if before.get(name) != after.get(name)
        and ((name in before and name in after) or name.startswith("package "))
    ]


def _facts(record: Record) -> dict[str, str]:
    """Target and environment as texts by name, as far as they are known."""
    facts: dict[str, str] = {"suite": record.suite}
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


def speed(old: Record, new: Record) -> Estimate | None:
    """Seconds of the new run as a share of the old one's: a ratio of sums over comparable checks.

    Those that made the same forward passes over the same tokens in both, and took long enough;
    the first of each run is left out, as it warms up. The interval is a bootstrap's, over checks.
    """
    before, after = _timed(old), _timed(new)
    pairs = np.array([(before[key], after[key]) for key in after if key in before])
    if len(pairs) < 3:
        return None
    draws = np.random.default_rng(0).integers(len(pairs), size=(RESAMPLES, len(pairs)))
    sums = pairs[draws].sum(axis=1)
    low, high = np.quantile(sums[:, 1] / sums[:, 0], [0.025, 0.975])
    total = pairs.sum(axis=0)
    return Estimate(value=float(total[1] / total[0]), low=float(low), high=float(high))


def _timed(record: Record) -> dict[tuple[str, str, int, int], float]:
    seconds = {
        (claim.id, check.name, check.cost.forward_passes, check.cost.tokens): check.cost.seconds
        for claim in record.claims
        for check in claim.evidence
        if check.cost.forward_passes
    }
    return {key: took for key, took in [*seconds.items()][1:] if took >= TIMED}
