"""Probes of what the temperature does to a distribution."""

from __future__ import annotations

import torch

from probes.engines.transformers import warpers as library_filters
from probes.schema.evidence.distributions import EntropyCurve
from probes.stats import sampling_reference as filters

GRID = (0.2, 0.4, 0.7, 1.0, 1.4, 1.6, 2.5, 4.0)


class TemperatureEffect(EntropyCurve):
    """How a distribution changes with the temperature, under the library's own filter."""

    ranking_changes: int
    """Tokens whose rank differs between the raw logits and any temperature, ties left out."""
    cold: float
    """A temperature so low that the second token is e^40 times less likely than the first."""
    greedy_share_when_cold: float
    """Probability of the most likely token, and its ties, there."""
    hot: float
    """A temperature a million times the logits' spread."""
    distance_from_uniform_when_hot: float
    """Largest deviation from 1 / vocabulary there, relative to it."""

    @property
    def rises_strictly(self) -> bool:
        """Whether every entropy is larger than the one before.

        Of a very sharp distribution the first may be too small for a number, and so 0.
        """
        steps = zip(self.entropies, self.entropies[1:], strict=False)
        return self.entropies[-1] > 0 and all(a < b or a == b == 0 for a, b in steps)


def shape(logits: torch.Tensor) -> TemperatureEffect:
    """Follow one distribution over the grid of temperatures, and to both ends.

    Args:
        logits: (vocabulary,), not all equal; tokens at -inf are left out.

    >>> found = shape(torch.tensor([1.0, 2.0, 4.0]))
    >>> found.rises_strictly, found.ranking_changes
    (True, 0)
    """
    logits = logits[logits.isfinite()].double()
    first = logits.max()
    second = logits[logits < first].max()  # in half precision the two best may tie
    cold = float(first - second) / 40
    hot = 1e6 * float(logits.max() - logits.min())
    tempered = [_library(logits, t) for t in GRID]
    uniform = 1 / len(logits)
    hot_probabilities = _library(logits, hot).softmax(dim=-1)
    return TemperatureEffect(
        temperatures=[*GRID],
        entropies=[float(filters.entropy(x.log_softmax(dim=-1))) for x in tempered],
        ranking_changes=sum(_moved(logits, x) for x in tempered),
        cold=cold,
        greedy_share_when_cold=float(_library(logits, cold).softmax(dim=-1)[logits == first].sum()),
        hot=hot,
        distance_from_uniform_when_hot=float((hot_probabilities / uniform - 1).abs().max()),
    )


def _library(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    return library_filters.temperature(logits.unsqueeze(0), temperature)[0]


def _moved(logits: torch.Tensor, tempered: torch.Tensor) -> int:
    """How many tokens stand below one that was less likely before."""
    in_order = tempered[logits.argsort(descending=True, stable=True)]
    return int((in_order[1:] > in_order[:-1]).sum())
