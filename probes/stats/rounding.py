"""How far rounding moves logits."""

from __future__ import annotations

from collections.abc import Iterable

import torch

ROUNDING = {"float32": 1e-4, "float16": 0.03, "bfloat16": 0.1}
"""Largest change of a logit that rounding explains, as a share of the logits' spread, by the
narrower dtype of two computations. A wrong mask, cache or position changes logits by far more."""


def logit_tolerance(logits: Iterable[torch.Tensor], dtype: str) -> float:
    """Return the largest change of a logit that rounding explains, from the logits' spread.

    >>> logit_tolerance([torch.tensor([[0.0, 1.0, 8.0]])], "float32")
    0.0007
    """
    return ROUNDING[dtype] * max(float(each.amax() - each.median()) for each in logits)


def largest_change(logits: torch.Tensor, again: torch.Tensor, top: int = 5) -> float:
    """Return the largest change of a logit among the `top` largest of each position.

    Both are (positions, vocabulary). It is infinite where a changed logit is not a number.

    >>> largest_change(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[3.5, 2.0, 9.0]]), top=2)
    0.5
    """
    best, ids = logits.topk(min(top, logits.shape[-1]), dim=-1)
    changed = again.gather(1, ids)
    change = torch.where(best == changed, 0.0, (best - changed).abs())
    return float(change.nan_to_num(nan=torch.inf).max())
