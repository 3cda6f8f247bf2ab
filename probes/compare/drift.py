"""How far the next-token distributions of two runs lie apart, from what their records keep.

The measures are llama.cpp's for two models on one text: KL divergence, RMS of the change in a
probability, share of positions with the same most likely token; each with its uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from probes.compare.logprobs import KEPT_TO
from probes.schema.comparison import Drift, Estimate, Flip, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from probes.compare.logprobs import Kept, Noise
    from probes.schema.prompt_logprobs import KeptPrompt

    Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000
"""Bootstrap samples of prompts: positions of one prompt are not independent of each other."""

FLIPS = 10
"""Positions named at most."""


@dataclass(frozen=True)
class _Position:
    """One position in both runs.

    Attributes:
        kl: KL divergence from the old to the new distribution.
        dp: change in the probability of the old run's most likely token.
        largest: largest change of a log-probability.
        flip: where another token leads.
    """

    kl: float
    dp: float
    largest: float
    flip: Flip | None


def drift(old: Kept, new: Kept, noise: Noise) -> Drift | None:
    """Compare the shared prompts of two records; None if neither keeps any."""
    if not old.prompts and not new.prompts:
        return None
    shared = [prompt for prompt in old.prompts if prompt in new.prompts]
    alone = tuple(sorted(old.prompts.keys() ^ new.prompts.keys()))
    alike = [p for p in shared if old.prompts[p].ids == new.prompts[p].ids]
    otherwise = tuple(p for p in shared if p not in alike)
    rows = _positions([(old.prompts[p], new.prompts[p]) for p in alike], noise.noise)
    found = [position for row in rows for position in row]
    if not found:
        outcome = Outcome.CHANGED if otherwise else Outcome.NOT_COMPARABLE
        return Drift(outcome=outcome, encoded_otherwise=otherwise, in_one_only=alone)
    largest = max(position.largest for position in found)
    flips = [position.flip for position in found if position.flip is not None]
    explained = largest <= noise.change and all(flip.near_tie for flip in flips)
    drifted = Outcome.SAME if explained else Outcome.DRIFTED
    if alone and explained:
        drifted = Outcome.NOT_COMPARABLE
    return Drift(
        outcome=Outcome.CHANGED if otherwise else drifted,
        prompts=len(alike),
        positions=len(found),
        encoded_otherwise=otherwise,
        in_one_only=alone,
        kl=_over_prompts(rows, lambda p: p.kl, np.mean),
        rms_dp=_over_prompts(rows, lambda p: p.dp**2, lambda x: np.sqrt(np.mean(x))),
        same_top=_share(len(found) - len(flips), len(found)),
        largest_change=largest,
        noise=noise.noise,
        explained=noise.change,
        flips=tuple(sorted(flips, key=lambda flip: -flip.margin)[:FLIPS]),
    )


def _positions(
    pairs: Sequence[tuple[KeptPrompt, KeptPrompt]], noise: float
) -> list[list[_Position]]:
    """The positions of each prompt, without those that a prompt before begins with, too."""
    seen: dict[tuple[int, int], int] = {}  # a beginning's number, by that of its own and a token
    rows = []
    for old, new in pairs:
        row, beginning = [], 0
        for place, token in enumerate(old.ids):
            known = (beginning, token) in seen
            beginning = seen.setdefault((beginning, token), len(seen) + 1)
            if not known:
                row.append(_position(old, new, place, noise))
        rows.append(row)
    return [row for row in rows if row]


def _position(old: KeptPrompt, new: KeptPrompt, place: int, noise: float) -> _Position:
    before, after = (
        log_probabilities(each.top_ids[place], each.top_logits[place], each.log_rest[place])
        for each in (old, new)
    )
    both = sorted(before.keys() & after.keys())
    top, now = old.top_ids[place][0], new.top_ids[place][0]
    # A token that is kept no more is at most as likely as the least likely one that is.
    p_now = np.exp(after.get(top, min(after.values())))
    flip = None
    if top != now:
        margin = sum(
            abs(each.get(now, min(each.values())) - each.get(top, min(each.values())))
            for each in (before, after)
        )
        flip = Flip(
            prompt=old.prompt,
            position=place + 1,
            old=old.likeliest[place],
            new=new.likeliest[place],
            margin=margin,
            near_tie={top, now} <= {*both} and margin <= 2 * noise + KEPT_TO,
        )
    return _Position(
        kl=divergence([before[i] for i in both], [after[i] for i in both]),
        dp=float(p_now - np.exp(before[top])),
        largest=max([*(abs(before[i] - after[i]) for i in both), *_left(before, after)]),
        flip=flip,
    )


def _left(before: dict[int, float], after: dict[int, float]) -> list[float]:
    """The least by which tokens changed that are kept in one run only.

    In the other run they are at most as likely as the least likely that is kept.
    """
    pairs = (before, after), (after, before)
    least = [
        one[i] - min(other.values()) for one, other in pairs for i in one.keys() - other.keys()
    ]
    return [max(0.0, each) for each in least] or [0.0]


def log_probabilities(
    ids: Sequence[int], logits: Sequence[float], log_rest: float
) -> dict[int, float]:
    """Log-probabilities of the kept tokens, by id.

    >>> round(log_probabilities([7, 3], [0.0, 0.0], log_rest=-np.inf)[7], 4)
    -0.6931
    """
    total = np.logaddexp.reduce([*logits, log_rest])
    return {i: float(logit - total) for i, logit in zip(ids, logits, strict=True)}


def divergence(old: Sequence[float], new: Sequence[float]) -> float:
    """KL divergence in nats over some tokens and all others as one.

    Args:
        old: log-probabilities of the tokens in the distribution the divergence is from.
        new: those in the other.

    >>> half = [float(np.log(0.5))]
    >>> divergence(half, half)
    0.0
    >>> round(divergence(half, [float(np.log(0.25))]), 4)
    0.1438
    """
    p, q = np.exp(np.asarray(old)), np.exp(np.asarray(new))
    rest_p, rest_q = max(0.0, 1 - p.sum()), max(0.0, 1 - q.sum())
    listed = float((p * (np.asarray(old) - np.asarray(new))).sum())
    # Where all is listed, what is left of 1 is the rounding of the sum.
    rest = rest_p * np.log(rest_p / rest_q) if min(rest_p, rest_q) > 1e-9 else 0.0
    return max(0.0, listed + float(rest))


def _over_prompts(
    rows: Sequence[Sequence[_Position]],
    measure: Callable[[_Position], float],
    statistic: Callable[[Floats], float],
) -> Estimate:
    """A statistic over all positions; its interval by a bootstrap that draws whole prompts."""
    values = [np.array([measure(position) for position in row]) for row in rows]
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    found = [float(statistic(np.concatenate([values[i] for i in draw]))) for draw in draws]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Estimate(
        value=float(statistic(np.concatenate(values))), low=float(low), high=float(high)
    )


def _share(count: int, of: int) -> Estimate:
    """A share with its exact binomial interval, as if positions were independent."""
    interval = stats.binomtest(count, of).proportion_ci(CONFIDENCE)
    return Estimate(value=count / of, low=float(interval.low), high=float(interval.high))
