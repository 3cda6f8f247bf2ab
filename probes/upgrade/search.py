"""Bisection over releases, some of which cannot be judged, and between which several may differ.

Nothing here installs or runs anything: the caller passes the function that judges a release.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Side(str, Enum):
    """Which end a release is like."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Answer:
    """The two releases between which the change lies."""

    last_good: str
    first_bad: str
    skipped: tuple[str, ...]
    """Releases between the two that could not be judged: the change may be in any of them."""
    contradictions: tuple[tuple[str, str], ...]
    """Bad releases, each with the next good one beyond it: there is more than one change."""
    judged: Mapping[str, Side]


def search(releases: Sequence[str], judge: Callable[[str], Side], more: int = 0) -> Answer:
    """Find where good turns bad, among releases from the good end to the bad one.

    Each end has been judged so already; `judge` is called at most once for another. So many `more`
    are judged besides, in the widest gaps, to look for other changes.

    >>> answer = search("abcdef", lambda release: Side.GOOD if release < "d" else Side.BAD)
    >>> answer.last_good, answer.first_bad
    ('c', 'd')
    """
    low, high = 0, len(releases) - 1
    known = {low: Side.GOOD, high: Side.BAD}
    while between := [place for place in range(low + 1, high) if place not in known]:
        middle = (low + high) // 2
        place = min(between, key=lambda place: abs(place - middle))
        known[place] = judge(releases[place])
        if known[place] is Side.GOOD:
            low = place
        elif known[place] is Side.BAD:
            high = place
    for _ in range(min(more, len(releases) - len(known))):
        before, after = max(pairwise(sorted(known)), key=lambda gap: gap[1] - gap[0])
        place = (before + after) // 2
        known[place] = judge(releases[place])
    judged = {releases[place]: known[place] for place in sorted(known)}
    return Answer(
        last_good=releases[low],
        first_bad=releases[high],
        skipped=tuple(releases[low + 1 : high]),
        contradictions=find_contradictions(judged),
        judged=judged,
    )


def find_contradictions(judged: Mapping[str, Side]) -> tuple[tuple[str, str], ...]:
    """Return the bad releases that a good one follows: none, if good turns bad once.

    >>> sides = [Side.GOOD, Side.BAD, Side.SKIPPED, Side.GOOD, Side.BAD]
    >>> find_contradictions(dict(zip("abcde", sides)))
    (('b', 'd'),)
    """
    decided = [(name, side) for name, side in judged.items() if side is not Side.SKIPPED]
    return tuple(
        (name, other)
        for (name, side), (other, next_side) in pairwise(decided)
        if side is Side.BAD and next_side is Side.GOOD
    )
