"""The optimiser for weight matrices.

torch has had a Muon of its own since 2.9; this package runs on older ones as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon:
    """Momentum whose update is made orthogonal, for two-dimensional weights.

    Each step moves a weight along the orthogonal matrix nearest to its averaged gradient, so
    that every direction of the matrix learns at the same rate.
    """

    def __init__(self, weights: Iterable[Tensor], momentum: float = 0.95) -> None:
        """Take the weights to move.

        Args:
            weights: Leaf tensors of shape (outputs, inputs).
            momentum: Share of the averaged gradient kept from step to step.
        """
        self._momentum = momentum
        self._alike: dict[torch.Size, list[Tensor]] = {}
        for weight in weights:
            self._alike.setdefault(weight.shape, []).append(weight)
        self._averages = {
            shape: torch.zeros(len(alike), *shape) for shape, alike in self._alike.items()
        }

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every weight by one step, and drop its gradient.

        Args:
            rate: Learning rate. The update's root mean square is about a fifth of it.
        """
        for shape, alike in self._alike.items():
            # Weights of one shape move together: few large products instead of many small ones.
            gradients = torch.stack([_gradient(weight) for weight in alike])
            average = self._averages[shape].lerp_(gradients, 1 - self._momentum)
            updates = orthogonalised(gradients.lerp(average, self._momentum))
            for weight, update in zip(alike, updates, strict=True):
                weight.add_(update, alpha=-0.2 * max(shape) ** 0.5 * rate)
                weight.grad = None


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def orthogonalised(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices near 1, by five Newton-Schulz steps.

    Args:
        matrices: Shape (..., rows, columns), float32.

    Returns:
        The same shape; singular values between about 0.7 and 1.2.

    Example:
        >>> out = orthogonalised(torch.diag(torch.tensor([3.0, 0.5])))
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
