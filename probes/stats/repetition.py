"""How much a text repeats itself: Holtzman's tail repetition, and distinct n-grams."""

from __future__ import annotations

from collections.abc import Sequence

SHORTEST_PHRASE = 3
"""Tokens of the shortest phrase whose repetition counts."""

OFTEN = 50
"""A shorter phrase counts too if it is repeated more often than this."""


def repeated_tail(ids: Sequence[int]) -> tuple[int, int]:
    """The phrase that a text ends in a repetition of.

    As Holtzman et al. (2019, "The Curious Case of Neural Text Degeneration") count it: of all
    phrases the text can be said to end in copies of, the one with the most copies, the shortest of
    those; it counts if it has three tokens or more, or more than fifty copies.

    Args:
        ids: token ids of the text.

    Returns:
        (length of the phrase in tokens, number of copies at the end); (0, 0) if none counts.

    >>> repeated_tail([9, 1, 2, 3, 1, 2, 3])
    (3, 2)
    >>> repeated_tail([1, 1, 1, 1, 1, 1])
    (0, 0)
    """
    ids = list(ids)
    lengths = range(1, len(ids) // 2 + 1)
    copies, length = max(((_copies(ids, n), -n) for n in lengths), default=(1, 0))
    length = -length
    # Where nothing is repeated it is the last token alone, too short to count.
    counts = length >= SHORTEST_PHRASE or copies > OFTEN
    return (length, copies) if counts else (0, 0)


def _copies(ids: list[int], length: int) -> int:
    """How many times a text's last `length` tokens stand at its end."""
    phrase, copies = ids[-length:], 1
    while ids[-length * (copies + 1) : -length * copies] == phrase:
        copies += 1
    return copies


def distinct_ngrams(ids: Sequence[int], n: int) -> float:
    """Share of a text's n-grams that are different from one another.

    Args:
        ids: token ids of the text.
        n: tokens an n-gram.

    Returns:
        Between 0 and 1; 1 for a text of fewer than n tokens.

    >>> distinct_ngrams([1, 2, 1, 2, 1], n=2)
    0.5
    """
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0
