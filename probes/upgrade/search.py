"""Bisection over releases, some of which may not answer, and of which the answer may not be one.

Nothing here installs or runs anything: a release is judged by a function that is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Side(str, Enum):
    """What a release is found to be."""

    GOOD = "good"
    """As the good end."""
    BAD = "bad"
    """As the bad end."""
    SKIPPED = "skipped"
    """It could not be judged."""


@dataclass(frozen=True)
class Answer:
    """Between which two releases the change lies."""

    last_good: str
    """The nearest to the bad end that is good, of what was judged on the way."""
    first_bad: str
    """The next that is bad."""
    skipped: tuple[str, ...] = ()
    """Releases between the two that could not be judged: the change may be in any of them."""
    contradictions: tuple[tuple[str, str], ...] = ()
    """Pairs of a bad release and a good one beyond it: there is more than one change."""
    judged: Mapping[str, Side] = field(default_factory=dict)
    """All that is known."""


def search(releases: Sequence[str], judge: Callable[[str], Side], more: int = 0) -> Answer:
    """Find where good turns bad.

    Args:
        releases: from the good end to the bad one, both judged so already.
        judge: says what a release is; asked once for each.
        more: so many releases are judged beside, in the widest gaps, to see whether the change is
            the only one.

    >>> answer = search("abcdef", lambda release: Side.GOOD if release < "d" else Side.BAD)
    >>> answer.last_good, answer.first_bad
    ('c', 'd')
    """
    known = {0: Side.GOOD, len(releases) - 1: Side.BAD}

    def ask(place: int) -> Side:
        if place not in known:
            known[place] = judge(releases[place])
        return known[place]

    low, high = 0, len(releases) - 1
    while (place := _next(low, high, known)) is not None:
        side = ask(place)
        if side is Side.GOOD:
            low = place
        elif side is Side.BAD:
            high = place
    for _ in range(more):
        if (place := _widest_gap(known, len(releases))) is None:
            break
        ask(place)
    return Answer(
        last_good=releases[low],
        first_bad=releases[high],
        skipped=tuple(releases[low + 1 : high]),
        contradictions=tuple((releases[a], releases[b]) for a, b in contradictions(known)),
        judged={releases[place]: known[place] for place in sorted(known)},
    )


def _next(low: int, high: int, known: Mapping[int, Side]) -> int | None:
    """The release to judge next: the one nearest to the middle that is not known."""
    middle = (low + high) // 2
    places = [place for place in range(low + 1, high) if place not in known]
    return min(places, key=lambda place: abs(place - middle), default=None)


def _widest_gap(known: Mapping[int, Side], count: int) -> int | None:
    """The middle of the longest stretch of releases that nobody has judged."""
    places = sorted(known)
    gaps = [(after - before, -before) for before, after in pairwise(places)]
    width, start = max(gaps, default=(0, 0))
    return None if width < 2 or len(known) == count else -start + width // 2


def contradictions(known: Mapping[int, Side]) -> list[tuple[int, int]]:
    """Bad places with the next good place after each: none, if good turns bad once.

    >>> contradictions({0: Side.GOOD, 2: Side.BAD, 3: Side.SKIPPED, 4: Side.GOOD, 6: Side.BAD})
    [(2, 4)]
    """
    found = []
    decided = [(place, known[place]) for place in sorted(known)]
    decided = [(place, side) for place, side in decided if side is not Side.SKIPPED]
    for (place, side), (after, other) in pairwise(decided):
        if (side, other) == (Side.BAD, Side.GOOD):
            found.append((place, after))
    return found
