"""Repetition, by Holtzman's definition and by distinct n-grams."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ([], (0, 0)),
        ([1], (0, 0)),
        ([1, 2, 3], (0, 0)),
        ([1, 2, 3, 1, 2, 3], (3, 2)),
        ([9, 9, 1, 2, 3, 1, 2, 3, 1, 2, 3], (3, 3)),
        ([1, 2, 3, 1, 2, 3, 4], (0, 0)),
        ([1, 2, 1, 2, 1, 2], (0, 0)),
        ([1, 2] * 51, (2, 51)),
        ([7] * 50, (0, 0)),
        ([7] * 51, (1, 51)),
        ([1, 2, 3, 4] * 4, (4, 4)),
    ],
)
def test_the_repeated_tail_is_the_phrase_with_most_copies(
    ids: list[int], found: tuple[int, int]
) -> None:
    from probes.repetition import repeated_tail

    assert repeated_tail(ids) == found


@pytest.mark.parametrize(
    ("ids", "n", "share"),
    [([1, 2, 3], 2, 1.0), ([1, 1, 1, 1], 1, 0.25), ([1, 2, 1, 2, 1], 2, 0.5), ([1], 4, 1.0)],
)
def test_distinct_ngrams_is_the_share_of_different_ones(
    ids: list[int], n: int, share: float
) -> None:
    from probes.repetition import distinct_ngrams

    assert distinct_ngrams(ids, n) == share
