"""How much a text repeats itself: Holtzman's tail repetition, and distinct n-grams."""

from __future__ import annotations

from collections.abc import Sequence

MIN_PHRASE_LENGTH = 3  # tokens of the shortest phrase whose repetition counts
MANY_COPIES = 50  # a shorter phrase counts, too, if it is repeated more often than this


def find_repeated_tail(ids: Sequence[int]) -> tuple[int, int]:
    """Find the phrase that a text repeats at its end: (its length in tokens, number of copies).

    As Holtzman et al. (2019, "The Curious Case of Neural Text Degeneration") count it: of all
    phrases whose copies end the text, the one with the most copies, and the shortest of those; it
    counts if it has three tokens or more, or more than fifty copies; otherwise this is (0, 0).

    >>> find_repeated_tail([9, 1, 2, 3, 1, 2, 3])
    (3, 2)
    """
    ids = list(ids)
    lengths = range(1, len(ids) // 2 + 1)
    # Without repetition the phrase is the last token alone, which is too short to count.
    copies, length = max(((_count_copies(ids, n), -n) for n in lengths), default=(1, 0))
    counts = -length >= MIN_PHRASE_LENGTH or copies > MANY_COPIES
    return (-length, copies) if counts else (0, 0)


def _count_copies(ids: list[int], length: int) -> int:
    """Count how many times the last `length` tokens are repeated at the end."""
    phrase, copies = ids[-length:], 1
    while ids[-length * (copies + 1) : -length * copies] == phrase:
        copies += 1
    return copies


def share_of_distinct_ngrams(texts: Sequence[Sequence[int]], n: int) -> float:
    """Return the share of the n-grams of some texts that differ from one another.

    No n-gram spans two texts; the share is 1 if every text is shorter than n tokens.

    >>> share_of_distinct_ngrams([[1, 2, 3], [1, 2, 4]], n=2)
    0.75
    """
    count = sum(max(0, len(ids) - n + 1) for ids in texts)
    return count_distinct_ngrams(texts, n) / count if count else 1.0


def count_distinct_ngrams(texts: Sequence[Sequence[int]], n: int) -> int:
    """Count the n-grams of some texts that differ from one another; none spans two texts.

    >>> count_distinct_ngrams([[1, 2, 3], [1, 2, 4]], n=2)
    3
    """
    return len({tuple(ids[i : i + n]) for ids in texts for i in range(len(ids) - n + 1)})
