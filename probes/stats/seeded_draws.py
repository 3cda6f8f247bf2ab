"""How often two draws with one seed differ where rounding moves the law between them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from enum import Enum
from typing import TypeVar

Token = TypeVar("Token", bound=Hashable)

ROUNDED = 2.0**-23
"""Share by which float32 rounds each term of a sum of probabilities."""


class Way(Enum):
    """How an engine makes a random number a token."""

    RACE = "race"
    """Each token has a noisy value of its own, and the largest wins."""
    BY_ID = "by id"
    """By its place in the sum of probabilities, in the order of ids."""
    BY_RANK = "by rank"
    """The same, the most likely token first."""


def chance_of_other_token(
    one: Mapping[Token, float], other: Mapping[Token, float], way: Way, ids: Sequence[Token] = ()
) -> float:
    """Return the probability that one random number picks other tokens from two laws.

    A law gives each token that can be drawn its probability, the most likely first; `ids` are all
    of both in their order. Where that is not known, the result is a bound for any order.

    >>> one, other = {1: 0.5, 2: 0.5}, {2: 0.625, 1: 0.375}
    >>> [chance_of_other_token(one, other, way, [1, 2]) for way in Way]
    [0.125, 0.125, 0.875]
    """
    tokens = list(dict.fromkeys([*one, *other]))
    if way is Way.RACE:
        chance = _by_race(one, other)
    elif way is Way.BY_RANK:
        chance = _by_place(_spans(one, list(one)), _spans(other, list(other)))
    elif ids:
        chance = _by_place(_spans(one, ids), _spans(other, ids))
    else:
        moved = sum(abs(one.get(token, 0.0) - other.get(token, 0.0)) for token in tokens) / 2
        chance = (len(tokens) - 1) * moved
    return min(1.0, max(chance, len(tokens) * ROUNDED))


def chance_of_independent_draws(one: Mapping[Token, float], other: Mapping[Token, float]) -> float:
    """Return the probability that independent draws from two laws are other tokens.

    >>> chance_of_independent_draws({1: 0.5, 2: 0.5}, {1: 0.75, 2: 0.25})
    0.5
    """
    return 1 - sum(mass * other.get(token, 0.0) for token, mass in one.items())


def weigh_draw(differs: bool, by_rounding: float, independent: float) -> float:
    """Return the log-likelihood ratio of a pair of draws: of independent ones, to one seed's.

    Its exponentials multiply to an e-value against a probability of at most `by_rounding`.

    >>> round(weigh_draw(True, 0.01, 0.5), 2), round(weigh_draw(False, 0.01, 0.5), 2)
    (3.91, -0.68)
    """
    if independent <= by_rounding:
        return 0.0
    if differs:
        return math.log(independent / by_rounding)
    return math.log((1 - min(independent, 1 - ROUNDED)) / (1 - by_rounding))


def _spans(law: Mapping[Token, float], order: Sequence[Token]) -> dict[Token, tuple[float, float]]:
    """Return the part of the interval from 0 to 1 that draws each token."""
    spans, end = {}, 0.0
    for token in order:
        if token in law:
            spans[token] = (end, end + law[token])
            end += law[token]
    return spans


def _by_place(
    one: Mapping[Token, tuple[float, float]], other: Mapping[Token, tuple[float, float]]
) -> float:
    shared = sum(
        max(0.0, min(end, other[token][1]) - max(begin, other[token][0]))
        for token, (begin, end) in one.items()
        if token in other
    )
    return 1 - shared


def _by_race(one: Mapping[Token, float], other: Mapping[Token, float]) -> float:
    """Token i wins both with 1 / sum over j of max(p_j / p_i, q_j / q_i)."""
    tokens = set(one) | set(other)
    same = 0.0
    for token, mass in one.items():
        there = other.get(token, 0.0)
        if mass > 0 and there > 0:
            same += 1 / sum(
                max(one.get(each, 0.0) / mass, other.get(each, 0.0) / there) for each in tokens
            )
    return 1 - same
