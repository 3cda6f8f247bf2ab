"""Cosine similarity of vectors, within and between groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def cosine_matrix(vectors: npt.NDArray[Any]) -> Floats:
    """Return the cosine similarity of every two vectors: (n, n), computed in float64.

    >>> cosine_matrix(np.array([[1.0, 0.0], [3.0, 4.0]])).round(2).tolist()
    [[1.0, 0.6], [0.6, 1.0]]
    """
    similarity: Floats = cosine_similarity(np.asarray(vectors, dtype=np.float64))
    return similarity


def upper_triangle(matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the entries above the diagonal, row by row: each pair once.

    >>> upper_triangle(np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]])).tolist()
    [1, 2, 3]
    """
    entries: npt.NDArray[Any] = matrix[np.triu_indices(len(matrix), 1)]
    return entries


def same_group(labels: Sequence[int]) -> Bools:
    """Return for every two items whether they are in one group: (n, n).

    >>> same_group([0, 0, 1]).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    numbers = np.asarray(labels)
    related: Bools = numbers[:, None] == numbers[None, :]
    return related


def mean_by_group(similarity: Floats, labels: Sequence[int]) -> Floats:
    """Return each item's mean similarity to the other items of every group: (n, groups).

    Labels are numbers from 0; every group has two items or more.

    >>> mean_by_group(np.array([[1, 0.9, 0.2], [0.9, 1, 0.1], [0.2, 0.1, 1]]), [0, 0, 0])[0]
    array([0.55])
    """
    member = np.eye(max(labels) + 1)[list(labels)]
    sums = (similarity - np.diag(np.diag(similarity))) @ member
    means: Floats = sums / (member.sum(axis=0) - member)
    return means


def mean_between_groups(similarity: Floats, labels: Sequence[int]) -> Floats:
    """Return the mean similarity of every two groups: (groups, groups), diagonal within a group.

    >>> mean_between_groups(np.kron(np.eye(2), np.ones((2, 2))), [0, 0, 1, 1]).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    member = np.eye(max(labels) + 1)[list(labels)]
    means: Floats = member.T @ mean_by_group(similarity, labels) / member.sum(axis=0)[:, None]
    return means


def pair_auc(similarity: Floats, related: Bools) -> float:
    """Return the chance that a related pair is more similar than an unrelated one.

    Ties count half: 0.5 where the relation says nothing, 1 where it always decides.

    >>> pair_auc(np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]]), same_group([0, 0, 1]))
    1.0
    """
    return float(roc_auc_score(upper_triangle(related), upper_triangle(similarity)))
