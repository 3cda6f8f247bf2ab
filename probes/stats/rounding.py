"""How far rounding may move a logit."""

from __future__ import annotations

from collections.abc import Iterable

import torch

ROUNDING = {"float32": 1e-4, "float16": 0.03, "bfloat16": 0.1}
"""Largest change of a logit that rounding explains, as a share of the logits' spread, by the
narrower dtype of two computations. A wrong mask, cache or position changes logits by far more."""


def logit_tolerance(logits: Iterable[torch.Tensor], dtype: str) -> float:
    """Return the largest change of a logit that rounding explains, from the logits' spread.

    Args:
        logits: each (positions, vocabulary).
        dtype: what the network computes in.

    >>> logit_tolerance([torch.tensor([[0.0, 1.0, 8.0]])], "float32")
    0.0007
    """
    return ROUNDING[dtype] * max(float(each.amax() - each.median()) for each in logits)
