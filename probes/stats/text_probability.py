"""Exact probabilities of whole texts, from the distributions of their steps.

Everything is in logarithms and float64. A tree of continuations is expanded level by level; where
it is too wide to follow, the mass not followed is kept and every result becomes a pair of bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


def path_log_probability(step_log_probs: torch.Tensor, ids: Sequence[int]) -> float:
    """Return the log-probability of a path of ids through steps, (steps, vocabulary).

    >>> steps = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).double().log()
    >>> round(torch.tensor(path_log_probability(steps, [0, 0])).exp().item(), 3)
    0.45
    """
    chosen = step_log_probs.gather(-1, torch.tensor(list(ids)).unsqueeze(-1))
    return float(chosen.sum())


@dataclass(frozen=True)
class Bounds:
    """The bounds of a number; equal where it is exact."""

    lower: float
    upper: float

    @property
    def exact(self) -> bool:
        """Whether the two agree to within 1e-9."""
        return self.upper - self.lower <= 1e-9


@dataclass(frozen=True)
class TextDistribution:
    """The texts that sampling can give, as far as they were followed."""

    ids: list[tuple[int, ...]]  # of each text that was followed to its end, most likely first
    probabilities: torch.Tensor  # (texts,), float64
    rest: float  # mass of the texts not followed
    largest_rest: float  # the largest mass that a single one of those can have

    def agreement(self, runs: int = 2) -> Bounds:
        """Return the probability that independent runs all give the same text.

        >>> TextDistribution([(1,), (2,)], torch.tensor([0.5, 0.5]).double(), 0.0, 0.0).agreement()
        Bounds(lower=0.5, upper=0.5)
        """
        known = float(self.probabilities.pow(runs).sum())
        return Bounds(known, known + self.rest * self.largest_rest ** (runs - 1))

    def expected_distinct(self, runs: int = 5) -> Bounds:
        """Return the expected number of different texts among independent runs.

        >>> TextDistribution([(1,)], torch.tensor([1.0]).double(), 0.0, 0.0).expected_distinct()
        Bounds(lower=1.0, upper=1.0)
        """
        known = float((1 - (1 - self.probabilities).pow(runs)).sum())
        at_least = 0.0
        if self.rest > 0:
            texts = max(1.0, self.rest / self.largest_rest)
            at_least = texts * (1 - (1 - self.rest / texts) ** runs)
        return Bounds(known + at_least, min(float(runs), known + runs * self.rest))


StepLogProbs = Callable[[list[tuple[int, ...]]], torch.Tensor]
"""Next-token log-probabilities, (prefixes, vocabulary), after prefixes of one length."""


def enumerate_texts(
    step: StepLogProbs, length: int, *, width: int = 256, eos_token_ids: Sequence[int] = ()
) -> TextDistribution:
    """Follow every text that sampling can give, the `width` most likely prefixes of each length.

    A text has `length` tokens, unless an end comes first. `step` is called once a length, with all
    prefixes.

    >>> coin = lambda prefixes: torch.tensor([[0.25, 0.75]] * len(prefixes)).double().log()
    >>> texts = enumerate_texts(coin, length=2)
    >>> texts.ids[0], round(texts.probabilities[0].item(), 4), texts.rest
    ((1, 1), 0.5625, 0.0)
    """
    prefixes: list[tuple[int, ...]] = [()]
    masses = torch.zeros(1, dtype=torch.float64)
    done: list[tuple[float, tuple[int, ...]]] = []
    rest, largest_rest = 0.0, 0.0
    for _ in range(length):
        if not prefixes:
            break
        joint = masses.unsqueeze(-1) + step(prefixes)
        found = joint.isfinite().nonzero()
        values = joint[found[:, 0], found[:, 1]]
        order = values.argsort(descending=True, stable=True)
        found, values = found[order], values[order]
        if len(values) > width:
            rest += float(values[width:].exp().sum())
            largest_rest = max(largest_rest, float(values[width].exp()))
        grown = [(*prefixes[row], token) for row, token in found[:width].tolist()]
        done += [
            (mass, ids)
            for mass, ids in zip(values[:width].tolist(), grown, strict=True)
            if ids[-1] in eos_token_ids
        ]
        going = [i for i, ids in enumerate(grown) if ids[-1] not in eos_token_ids]
        prefixes, masses = [grown[i] for i in going], values[:width][going]
    done += zip(masses.tolist(), prefixes, strict=True)
    done.sort(key=lambda text: -text[0])
    return TextDistribution(
        [ids for _, ids in done],
        torch.tensor([mass for mass, _ in done], dtype=torch.float64).exp(),
        rest,
        largest_rest,
    )
