"""The steps of a text with what a server lists of each, whatever it names the tokens by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from probes.engines.base import Generation

LIST_END = -1000.0
"""Nats below which a value stands for a token that a filter dropped, or that is not listed."""


@dataclass(frozen=True)
class ListedStep:
    """One token of a text, and the most likely tokens there, the most likely first."""

    tokens: list[int] | list[bytes]
    """Ids, or the bytes of their texts."""
    logprobs: list[float]
    """In nats, at temperature 1, before any filter."""
    token: int | bytes
    """The one that came."""
    chosen: float
    """Its log-probability."""

    @property
    def gap(self) -> float:
        """How far the token that came is behind the most likely one, in nats."""
        return max(0.0, max(self.logprobs, default=self.chosen) - self.chosen)

    @property
    def place(self) -> int | None:
        """Its place in the list; None if it is not there."""
        return self.tokens.index(self.token) if self.token in self.tokens else None  # type: ignore[arg-type]

    @property
    def shows_others(self) -> bool:
        """Whether it lists more than the token that came: some servers tell no other."""
        return len({*self.tokens, self.token}) > 1

    @property
    def is_told(self) -> bool:
        """Whether its log-probability is told: OpenAI's is -9999 for a token outside the list."""
        return self.chosen >= LIST_END

    @property
    def most(self) -> float | None:
        """The most that its log-probability can be: what is told, or the last of the list."""
        return self.chosen if self.is_told else min(self.logprobs, default=None)

    @property
    def is_filtered(self) -> bool:
        """Whether the list leaves out what a filter dropped: then it is no list of all tokens."""
        return any(value < LIST_END for value in self.logprobs)


def list_steps(text: Generation, sample: int = 0) -> list[ListedStep]:
    """Return the steps of a sample; none where the server does not list all of them.

    >>> from probes import load
    >>> text = load("embedded").generate("The capital of Japan is", max_new_tokens=2,
    ...                                  do_sample=False, top_logprobs=3)
    >>> [(step.place, step.gap) for step in list_steps(text)]
    [(0, 0.0), (0, 0.0)]
    """
    if text.top_pieces and text.top_pieces[sample]:
        return [
            ListedStep(step.pieces, step.logprobs, step.chosen_piece, step.chosen)
            for step in text.top_pieces[sample]
        ]
    ids = text.ids[sample]
    listed = text.top_logprobs[sample] if text.top_logprobs else []
    if len(listed) != len(ids):
        return []
    return [
        ListedStep(step.ids, step.logprobs, token, step.chosen)
        for token, step in zip(ids, listed, strict=True)
    ]


def sum_of_probabilities(step: ListedStep) -> float:
    """Return the sum of the listed probabilities.

    >>> sum_of_probabilities(ListedStep([1, 2], [math.log(0.5), math.log(0.25)], 1, 0.0))
    0.75
    """
    return sum(map(math.exp, step.logprobs))


def largest_change(first: list[ListedStep], second: list[ListedStep]) -> float:
    """Return how far listed distances move between two texts, before the token that differs.

    What moved that token is left out: it would excuse itself. It is 0 where nothing is left.

    >>> step = ListedStep([1, 2], [-0.5, -1.5], 1, -0.5)
    >>> moved = ListedStep([1, 2], [-0.5, -1.25], 1, -0.5)
    >>> largest_change([step], [moved])
    0.25
    """
    largest = 0.0
    for here, there in zip(first, second, strict=False):
        if here.token != there.token:
            break
        one = dict(zip(here.tokens, here.logprobs, strict=True))
        other = dict(zip(there.tokens, there.logprobs, strict=True))
        shared = [token for token in one if token in other]
        for token in shared[1:]:
            moved = (one[token] - one[shared[0]]) - (other[token] - other[shared[0]])
            largest = max(largest, abs(moved))
    return largest if math.isfinite(largest) else math.inf


def count_common_steps(first: list[ListedStep], second: list[ListedStep]) -> int:
    """Return how many tokens two texts share from their beginning."""
    pairs = zip(first, second, strict=False)
    return next(
        (number for number, (one, other) in enumerate(pairs) if one.token != other.token),
        min(len(first), len(second)),
    )


def steps_together(
    first: list[ListedStep], second: list[ListedStep]
) -> list[tuple[ListedStep, ListedStep]]:
    """Return the steps of two texts after the same tokens: up to the first token that differs."""
    count = count_common_steps(first, second) + 1
    return list(zip(first[:count], second[:count], strict=False))
