"""How far rounding moves logits."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import torch

# scipy is imported where it is used: it takes a second, and loading a model imports this module.

ROUNDING = {"float32": 1e-4, "float16": 0.03, "bfloat16": 0.1}
"""Largest change of a logit that rounding explains, as a share of the logits' spread, by the
narrower dtype of two computations. A wrong mask, cache or position changes logits by far more."""


def logit_tolerance(logits: Iterable[torch.Tensor], dtype: str) -> float:
    """Return the largest change of a logit that rounding explains, from the logits' spread.

    >>> logit_tolerance([torch.tensor([[0.0, 1.0, 8.0]])], "float32")
    0.0007
    """
    return ROUNDING[dtype] * max(float(each.amax()) - _median(each) for each in logits)


def _median(logits: torch.Tensor) -> float:
    # What `torch.median` gives takes nine times as long.
    values = logits.float().cpu().numpy().ravel()
    middle = (values.size - 1) // 2
    return float(np.partition(values, middle)[middle])


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


def largest_distance_change(logits: torch.Tensor, again: torch.Tensor, top: int = 5) -> float:
    """Return the largest change of the distance of a likely logit to the largest of its position.

    Unlike `largest_change` it is 0 where all logits move by the same, which changes no probability:
    in half precision they may move far together. It is infinite where a logit is not a number.

    >>> largest_distance_change(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[4.0, 3.0, 2.5]]))
    0.5
    """
    best, ids = logits.topk(min(top, logits.shape[-1]), dim=-1)
    changed = again.gather(1, ids)
    change = ((best - best[:, :1]) - (changed - changed[:, :1])).abs()
    return float(change.nan_to_num(nan=torch.inf).max())


def differs_beyond_rounding(
    one: torch.Tensor, other: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Return where two results of the same few float32 operations differ by more than rounding.

    Eight units of the last place are allowed, of the results or of the `scale` of what they are
    computed from; infinities and NaN must be equal. All are of the same shape, the result is bool.

    >>> one = torch.tensor([1.0, 1.0, -torch.inf, 2.0])
    >>> other = torch.tensor([1.0000001, 1.001, -torch.inf, -torch.inf])
    >>> differs_beyond_rounding(one, other, scale=one)
    tensor([False,  True, False,  True])
    """
    one, other = one.double(), other.double()
    largest = torch.maximum(torch.maximum(one.abs(), other.abs()), scale.double().abs())
    allowed = 8 * torch.finfo(torch.float32).eps * largest
    same = (one == other) | (one.isnan() & other.isnan())
    near = one.isfinite() & other.isfinite() & ((one - other).abs() <= allowed)
    return ~(same | near)


def bound_changes(logits: torch.Tensor, again: torch.Tensor, top: int, alpha: float) -> float:
    """Return the largest change of a logit that rounding explains, from two right computations.

    Both are (positions, vocabulary). Changes of the `top` largest logits are taken as normal with
    one spread, those of one position as dependent: Student's t with as many degrees of freedom as
    there are positions exceeds the bound in one of the logits with a probability of at most alpha.

    >>> logits = torch.tensor([[3.0, 2.0], [4.0, 1.0], [5.0, 0.0]])
    >>> round(bound_changes(logits, logits + 0.1, top=2, alpha=0.05), 2)
    0.62
    """
    from scipy import stats

    best, ids = logits.topk(min(top, logits.shape[-1]), dim=-1)
    spread = float((best - again.gather(1, ids)).square().mean().sqrt())
    return spread * float(stats.t.isf(alpha / 2 / best.numel(), len(best)))


@cache
def exceedance_factor(draws: int, judged: int, alpha: float) -> float:
    """Return how much larger than the largest of some draws a larger spread's may get by chance.

    The largest of `judged` normal variables, of √2 times the standard deviation of the draws,
    exceeds the factor times the largest of the `draws` with a probability of at most `alpha`.

    >>> round(exceedance_factor(400, 100, 5e-8), 1), round(exceedance_factor(16, 4, 5e-8), 1)
    (3.2, 8.1)
    """
    from scipy import integrate, optimize, special

    largest = np.linspace(0, 12, 8001)
    inside = special.erf(largest / np.sqrt(2))
    density = draws * inside ** (draws - 1) * np.exp(-(largest**2) / 2) * np.sqrt(2 / np.pi)

    def exceeds(factor: float) -> float:
        return judged * float(
            integrate.simpson(density * special.erfc(factor * largest / 2), x=largest)
        )

    return float(optimize.brentq(lambda factor: exceeds(factor) - alpha, 1, 1e3, xtol=1e-6))
