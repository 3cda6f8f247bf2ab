"""Logits of which the largest are kept one by one, and of the others every so many-th: all again.

Whoever reads a record can filter a distribution without the model, and without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence


def tail_ranks(size: int, head: int, step: int) -> list[int]:
    """Ranks whose logits are kept after the head's: every step-th, and the last.

    >>> tail_ranks(8, head=2, step=3)
    [2, 5, 7]
    """
    return sorted({*range(head, size, step), size - 1}) if size > head else []


def whole(
    size: int, head: Sequence[float], step: int, tail: Sequence[float]
) -> npt.NDArray[np.float64]:
    """(size,), all logits in order, those between the kept ones on straight lines.

    >>> whole(4, head=[4.0], step=2, tail=[2.0, 1.0])
    array([4. , 2. , 1.5, 1. ])
    """
    if not tail:
        return np.asarray(head, dtype=np.float64)
    ranks = tail_ranks(size, len(head), step)
    between = np.interp(np.arange(len(head), size), ranks, tail)
    return np.concatenate([head, between])
