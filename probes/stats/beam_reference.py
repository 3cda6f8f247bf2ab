"""Reference definition of beam search, on the log-probabilities that a search computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Beams:
    """What a beam search finds, the best first."""

    ids: list[list[int]]
    scores: list[float]
    """Sum of the log-probabilities of each beam's tokens, divided by their number, in nats."""
    closest: float
    """The smallest distance, over all steps, of the sum of the last kept candidate from that of the
    first dropped one: what rounding must move to find other beams."""


def follow_beams(log_probabilities: torch.Tensor) -> Beams:
    """Keep at each step the candidates with the largest sums, as many as there are beams.

    `log_probabilities` are those of the next token after each beam of each step, (steps, beams,
    vocabulary), the beams in the order in which the step before keeps them. At first all are the
    same. No token ends a beam.

    >>> step = torch.tensor([[0.5, 0.4, 0.1]]).log()
    >>> found = follow_beams(torch.stack([step.expand(2, 3), step.expand(2, 3)]))
    >>> found.ids, [round(score, 3) for score in found.scores]
    ([[0, 0], [0, 1]], [-0.693, -0.805])
    """
    steps, beams, size = log_probabilities.shape
    totals = torch.full((beams,), -torch.inf, dtype=torch.float64)
    totals[0] = 0.0
    ids: list[list[int]] = [[] for _ in range(beams)]
    closest = torch.inf
    for step in log_probabilities.double():
        candidates = (totals[:, None] + step).flatten()
        best = candidates.topk(min(beams + 1, candidates.numel()))
        if len(best.values) > beams:
            closest = min(closest, float(best.values[beams - 1] - best.values[beams]))
        kept = best.indices[:beams].tolist()
        ids = [[*ids[place // size], place % size] for place in kept]
        totals = best.values[:beams]
    return Beams(ids, (totals / max(1, steps)).tolist(), closest)
