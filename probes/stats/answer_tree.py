"""Follow the continuations of several questions in one tree, or draw from it.

Logits do not depend on the sampling settings: the tree is followed once, and each setting is
evaluated on the same logits. What was not followed to a decision lies between the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from probes.schema.sampling import Sampling
from probes.stats import sampling_reference as reference
from probes.stats.answer_matching import MatchState
from probes.stats.text_probability import Bounds

Floats = npt.NDArray[np.float64]

MIN_PROBABILITY = 1e-6  # continuations less likely than this under every setting are not followed

Prefix = tuple[int, tuple[int, ...]]  # the number of a question, and token ids that continue it

Step = Callable[[list[Prefix]], reference.TopLogits]
"""Returns the most likely next tokens after each prefix."""

Match = Callable[[Prefix], MatchState]
"""Decides a continuation; one of the greatest length must not be open."""


@dataclass(frozen=True)
class AnswerProbability:
    """The probability of a right answer to each question under each of several settings."""

    settings: tuple[Sampling, ...]
    right: Floats  # (settings, questions), mass of the continuations that are right
    wrong: Floats  # the same of those that are wrong; the rest of 1 was not followed

    def lower(self, sampling: Sampling) -> Floats:
        """Return the least probability of a right answer: (questions,)."""
        found: Floats = self.right[self.settings.index(sampling)]
        return found

    def upper(self, sampling: Sampling) -> Floats:
        """Return the greatest probability of a right answer: (questions,)."""
        not_wrong = 1 - self.wrong[self.settings.index(sampling)]
        found: Floats = np.maximum(self.lower(sampling), not_wrong)
        return found

    def mean(self, sampling: Sampling) -> Bounds:
        """Return the expected share of right answers."""
        return Bounds(float(self.lower(sampling).mean()), float(self.upper(sampling).mean()))


def follow_continuations(
    step: Step,  # returns the most likely next tokens: all that any setting keeps
    match: Match,  # decides a continuation; one of `length` tokens must not be open
    prompts: int,  # their number
    settings: Sequence[Sampling],
    *,
    length: int,  # tokens of a continuation that has not ended
    width: int,
    min_probability: float = MIN_PROBABILITY,
) -> AnswerProbability:
    """Follow the continuations of several prompts under several settings in one tree.

    At each level the `width` prefixes with the most mass under any setting are followed.

    >>> def coin(prefixes):
    ...     return torch.zeros(len(prefixes), 2), torch.tensor([[0, 1]] * len(prefixes))
    >>> heads = lambda prefix: MatchState.RIGHT if prefix[1][-1] == 1 else MatchState.OPEN
    >>> follow_continuations(coin, heads, 1, [Sampling()], length=3, width=9).mean(Sampling())
    Bounds(lower=0.875, upper=1.0)
    """
    sums = {state: torch.zeros(len(settings), prompts, dtype=torch.float64) for state in MatchState}
    prefixes: list[Prefix] = [(number, ()) for number in range(prompts)]
    masses = torch.ones(len(settings), prompts, dtype=torch.float64)
    for _ in range(length):
        if not prefixes:
            break
        logits, tokens = step(prefixes)
        chances = torch.stack([reference.log_probabilities(logits, s).exp() for s in settings])
        joint = masses.unsqueeze(-1) * chances
        rows, places = (joint.amax(dim=0) > min_probability).nonzero(as_tuple=True)
        values = joint[:, rows, places]
        grown = [
            (prefixes[row][0], (*prefixes[row][1], token))
            for row, token in zip(rows.tolist(), tokens[rows, places].tolist(), strict=True)
        ]
        states = [match(prefix) for prefix in grown]
        for state, total in sums.items():
            chosen = [i for i, found in enumerate(states) if found is state]
            owners = torch.tensor([grown[i][0] for i in chosen], dtype=torch.long)
            total.index_add_(1, owners, values[:, chosen])
        going = [i for i, state in enumerate(states) if state is MatchState.OPEN]
        order = values[:, going].amax(dim=0).argsort(descending=True, stable=True)[:width]
        going = [going[i] for i in order.tolist()]
        prefixes, masses = [grown[i] for i in going], values[:, going]
    return AnswerProbability(
        tuple(settings), sums[MatchState.RIGHT].numpy(), sums[MatchState.WRONG].numpy()
    )


def draw_right(
    step: Step,
    match: Match,
    prompts: int,
    sampling: Sampling,
    *,
    runs: int,
    generator: torch.Generator,
    length: int,  # tokens of an answer that has not ended
) -> Floats:
    """Draw so many answers to each question, and count those that are right: (questions,).

    Each is drawn until it is decided; what several have in common is computed once.

    >>> def coin(prefixes):
    ...     return torch.zeros(len(prefixes), 2), torch.tensor([[0, 1]] * len(prefixes))
    >>> heads = lambda prefix: MatchState.RIGHT if prefix[1][-1] == 1 else MatchState.OPEN
    >>> random = torch.Generator().manual_seed(0)
    >>> found = draw_right(coin, heads, 1, Sampling(), runs=1000, generator=random, length=2)
    >>> bool(700 < found[0] < 800)
    True
    """
    right = np.zeros(prompts)
    beginnings: list[Prefix] = [(number, ()) for number in range(prompts)]
    going = beginnings * runs
    for _ in range(length):
        if not going:
            break
        places = {prefix: place for place, prefix in enumerate(dict.fromkeys(going))}
        logits, tokens = step([*places])
        chances = reference.log_probabilities(logits, sampling).exp()
        rows = torch.tensor([places[prefix] for prefix in going])
        drawn = torch.multinomial(chances[rows], 1, generator=generator)
        chosen = tokens[rows].gather(-1, drawn)[:, 0].tolist()
        grown = [
            (number, (*ids, token)) for (number, ids), token in zip(going, chosen, strict=True)
        ]
        states = [match(prefix) for prefix in grown]
        for (number, _), state in zip(grown, states, strict=True):
            right[number] += state is MatchState.RIGHT
        going = [p for p, state in zip(grown, states, strict=True) if state is MatchState.OPEN]
    return right
