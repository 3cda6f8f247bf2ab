"""Measure how far the next-token distributions of two records are apart.

The measures are llama.cpp's for two models on one text: KL divergence, RMS of the change in a
probability, share of positions with the same most likely token; each with its uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special  # scipy.stats takes a second to import

from probes.compare.bootstrap import CONFIDENCE, estimate
from probes.compare.logprobs import KEPT_TO, KeptLogits, Noise
from probes.schema.comparison import Drift, Estimate, Flip, Outcome
from probes.schema.evidence.distributions import PromptLogprobs

Floats = npt.NDArray[np.float64]

MOST_FLIPS = 10
"""Positions with another most likely token that are named."""


@dataclass(frozen=True)
class _Position:
    """One position in both runs, measured as `Drift` has it."""

    kl: float
    probability_change: float
    largest_change: float
    flip: Flip | None


def measure_drift(old: KeptLogits, new: KeptLogits, noise: Noise) -> Drift | None:
    """Compare the shared prompts of two records; None if neither keeps any."""
    if not old.prompts and not new.prompts:
        return None
    pairs = [(old.prompts[name], new.prompts[name]) for name in old.prompts if name in new.prompts]
    equal = [pair for pair in pairs if pair[0].ids == pair[1].ids]
    encoded_otherwise = tuple(one.prompt for one, other in pairs if one.ids != other.ids)
    in_one_only = tuple(sorted(old.prompts.keys() ^ new.prompts.keys()))
    by_prompt = _positions(equal, noise.noise)
    positions = [position for row in by_prompt for position in row]
    if not positions:
        outcome = Outcome.CHANGED if encoded_otherwise else Outcome.NOT_COMPARABLE
        return Drift(outcome=outcome, encoded_otherwise=encoded_otherwise, in_one_only=in_one_only)
    largest = max(position.largest_change for position in positions)
    flips = [position.flip for position in positions if position.flip is not None]
    if encoded_otherwise:
        outcome = Outcome.CHANGED
    elif largest > noise.change or not all(flip.near_tie for flip in flips):
        outcome = Outcome.DRIFTED
    else:
        outcome = Outcome.NOT_COMPARABLE if in_one_only else Outcome.SAME
    return Drift(
        outcome=outcome,
        prompts=len(equal),
        positions=len(positions),
        encoded_otherwise=encoded_otherwise,
        in_one_only=in_one_only,
        kl=_average(by_prompt, lambda p: p.kl),
        rms_dp=_average(by_prompt, lambda p: p.probability_change**2, np.sqrt),
        same_top=_share(len(positions) - len(flips), len(positions)),
        largest_change=largest,
        noise=noise.noise,
        explained=noise.change,
        flips=tuple(sorted(flips, key=lambda flip: -flip.margin)[:MOST_FLIPS]),
    )


def _positions(
    pairs: Iterable[tuple[PromptLogprobs, PromptLogprobs]], noise: float
) -> list[list[_Position]]:
    """Return the positions of each prompt; a beginning that several prompts share counts once."""
    seen: dict[tuple[int, int], int] = {}  # by the number of a beginning and a token: the next's
    rows = []
    for old, new in pairs:
        row, beginning = [], 0
        for place, token in enumerate(old.ids):
            is_known = (beginning, token) in seen
            beginning = seen.setdefault((beginning, token), len(seen) + 1)
            if not is_known:
                row.append(_compare_position(old, new, place, noise))
        rows.append(row)
    return [row for row in rows if row]


def _compare_position(
    old: PromptLogprobs, new: PromptLogprobs, place: int, noise: float
) -> _Position:
    before, after = (
        log_probabilities(each.top_ids[place], each.top_logits[place], each.log_rest[place])
        for each in (old, new)
    )
    both = sorted(before.keys() & after.keys())
    top, new_top = old.top_ids[place][0], new.top_ids[place][0]
    flip = None
    if top != new_top:
        margin = sum(abs(_at_most(each, new_top) - _at_most(each, top)) for each in (before, after))
        flip = Flip(
            prompt=old.prompt,
            position=place + 1,
            old=old.likeliest[place],
            new=new.likeliest[place],
            margin=margin,
            near_tie={top, new_top} <= {*both} and margin <= 2 * noise + KEPT_TO,
        )
    changes = [abs(before[i] - after[i]) for i in both]
    # The least by which tokens changed that one run alone keeps.
    for one, other in ((before, after), (after, before)):
        changes += [one[i] - _at_most(other, i) for i in one.keys() - other.keys()]
    return _Position(
        kl=divergence([before[i] for i in both], [after[i] for i in both]),
        probability_change=float(np.exp(_at_most(after, top)) - np.exp(before[top])),
        largest_change=max(0.0, *changes),
        flip=flip,
    )


def _at_most(log_probs: dict[int, float], token: int) -> float:
    """Return a token's log-probability; if it is not kept, that of the least likely kept token."""
    return log_probs.get(token, min(log_probs.values()))


def log_probabilities(
    ids: Sequence[int], logits: Sequence[float], log_rest: float
) -> dict[int, float]:
    """Return the log-probabilities of the kept tokens, by id.

    >>> round(log_probabilities([7, 3], [0.0, 0.0], log_rest=-np.inf)[7], 4)
    -0.6931
    """
    total = np.logaddexp.reduce([*logits, log_rest])
    return {i: float(logit - total) for i, logit in zip(ids, logits, strict=True)}


def divergence(old: Sequence[float], new: Sequence[float]) -> float:
    """Return the KL divergence in nats from `old` to `new`, log-probabilities of some tokens.

    All other tokens count as one.

    >>> half, quarter = [float(np.log(0.5))], [float(np.log(0.25))]
    >>> divergence(half, half), round(divergence(half, quarter), 4)
    (0.0, 0.1438)
    """
    p, q = np.exp(np.asarray(old)), np.exp(np.asarray(new))
    rest_p, rest_q = max(0.0, 1 - p.sum()), max(0.0, 1 - q.sum())
    listed = float((p * (np.asarray(old) - np.asarray(new))).sum())
    # Where all tokens are listed, the remainder of 1 is the rounding of the sum.
    rest = rest_p * np.log(rest_p / rest_q) if min(rest_p, rest_q) > 1e-9 else 0.0
    return max(0.0, listed + float(rest))


def _average(
    by_prompt: Sequence[Sequence[_Position]],
    measure: Callable[[_Position], float],
    transform: Callable[[Floats], Floats] = np.asarray,
) -> Estimate:
    """Return the mean over all positions, transformed; its bootstrap draws whole prompts."""
    sums = np.array([sum(map(measure, row)) for row in by_prompt])
    counts = np.array([len(row) for row in by_prompt])
    return estimate(
        len(sums), lambda draws: transform(sums[draws].sum(axis=1) / counts[draws].sum(axis=1))
    )


def _share(count: int, total: int) -> Estimate:
    """Return a share with its exact binomial interval, as if positions were independent.

    The interval is that of Clopper and Pearson.

    >>> _share(9, 10)
    Estimate(value=0.9, low=0.55498..., high=0.99747...)
    """
    tail = (1 - CONFIDENCE) / 2
    low = special.betaincinv(count, total - count + 1, tail) if count else 0.0
    high = special.betaincinv(count + 1, total - count, 1 - tail) if count < total else 1.0
    return Estimate(value=count / total, low=float(low), high=float(high))
