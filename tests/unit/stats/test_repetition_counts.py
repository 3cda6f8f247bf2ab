from __future__ import annotations

import pytest

from probes.stats.repetition import find_repeated_tail, share_of_distinct_ngrams


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
def test_repeated_tail_is_the_phrase_with_most_copies(
    ids: list[int], found: tuple[int, int]
) -> None:
    assert find_repeated_tail(ids) == found


@pytest.mark.parametrize(
    ("texts", "n", "share"),
    [
        ([[1, 2, 3]], 2, 1.0),
        ([[1, 1, 1, 1]], 1, 0.25),
        ([[1, 2, 1, 2, 1]], 2, 0.5),
        ([[1]], 4, 1.0),
        ([[1, 2], [3, 4], [2, 3]], 2, 1.0),
        ([[1, 2], [1, 2]], 2, 0.5),
    ],
)
def test_distinct_ngrams_do_not_span_texts(texts: list[list[int]], n: int, share: float) -> None:
    assert share_of_distinct_ngrams(texts, n) == share
