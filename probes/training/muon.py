"""The optimiser for weight matrices.

`torch.optim.Muon` computes its Newton-Schulz steps in bfloat16, which gives other weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon:
    """Move each matrix along the orthogonal matrix nearest to its averaged gradient."""

    def __init__(self, weights: Iterable[Tensor], momentum: float = 0.95) -> None:
        """Take leaf tensors of shape (outputs, inputs)."""
        self._momentum = momentum
        # Weights of one shape move together: few large products instead of many small ones.
        self._by_shape: dict[torch.Size, list[Tensor]] = {}
        for weight in weights:
            self._by_shape.setdefault(weight.shape, []).append(weight)
        self._averages = {
            shape: torch.zeros(len(group), *shape) for shape, group in self._by_shape.items()
        }

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every weight, and drop its gradient; an update's RMS is about a fifth of `rate`."""
        for shape, group in self._by_shape.items():
            gradients = torch.stack([_gradient(weight) for weight in group])
            average = self._averages[shape].lerp_(gradients, 1 - self._momentum)
            updates = orthogonalize(gradients.lerp(average, self._momentum))
            for weight, update in zip(group, updates, strict=True):
                weight.add_(update, alpha=-0.2 * max(shape) ** 0.5 * rate)
                weight.grad = None


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices (..., rows, columns) to about 0.7 to 1.2.

    >>> out = orthogonalize(torch.diag(torch.tensor([3.0, 0.5])))
    >>> bool(((torch.linalg.svdvals(out) - 1).abs() < 0.35).all())
    True
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
