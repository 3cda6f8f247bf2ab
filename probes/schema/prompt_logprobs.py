"""Logits as a record keeps them, for whoever reads it without the model, and without torch.

Of a whole distribution the largest are kept one by one, and of the others every so many-th. Of a
prompt the largest are kept after each of its tokens, and of the others the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class KeptPrompt:
    """The next-token logits after each token of a prompt.

    Attributes:
        prompt: the prompt.
        ids: its token ids.
        top_ids: for each of them the token ids of the largest logits after it, the largest first.
        top_logits: for each of them those logits.
        log_rest: for each of them the logarithm of the sum of exp(logit) over all other tokens.
        likeliest: for each of them the most likely next token, decoded alone.
    """

    prompt: str
    ids: list[int]
    top_ids: list[list[int]]
    top_logits: list[list[float]]
    log_rest: list[float]
    likeliest: list[str]


def tail_ranks(size: int, head: int, step: int) -> list[int]:
    """Ranks whose logits are kept after the head's: every step-th, and the last.

    >>> tail_ranks(8, head=2, step=3)
    [2, 5, 7]
    >>> tail_ranks(2, head=2, step=3)
    []
    """
    return sorted({*range(head, size, step), size - 1}) if size > head else []


def whole(
    size: int, head: Sequence[float], step: int, tail: Sequence[float]
) -> npt.NDArray[np.float64]:
    """(size,), all logits in order, those between the kept ones on straight lines.

    >>> whole(4, head=[4.0], step=2, tail=[2.0, 1.0])
    array([4. , 2. , 1.5, 1. ])
    >>> whole(2, head=[4.0, 1.0], step=1, tail=[])
    array([4., 1.])
    """
    if not tail:
        return np.asarray(head, dtype=np.float64)
    ranks = tail_ranks(size, len(head), step)
    between = np.interp(np.arange(len(head), size), ranks, tail)
    return np.concatenate([head, between])
