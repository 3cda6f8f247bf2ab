"""The optimiser for weight matrices.

torch has had a Muon of its own since 2.9; this package runs on older ones as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for two-dimensional weights.

    Each step moves a weight along the orthogonal matrix nearest to its averaged gradient, so
    that every direction of the matrix learns at the same rate.

    Args:
        parameters: Weights of shape (outputs, inputs).
        lr: Step length. An update has a root mean square of about ``0.2 * lr``.
        momentum: Share of the average kept from step to step.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Move every weight by one step. ``closure`` is there for the base class only."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                average = state.setdefault("average", torch.zeros_like(weight))
                average.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(average, group["momentum"])
                update = orthogonalised(ahead)
                weight.add_(update, alpha=-0.2 * max(weight.shape) ** 0.5 * group["lr"])


def orthogonalised(matrix: Tensor) -> Tensor:
    """Bring the singular values of a matrix near 1, by five Newton-Schulz steps.

    Args:
        matrix: Shape (rows, columns), float32.

    Returns:
        The same shape; singular values between about 0.7 and 1.2.

    Example:
        >>> out = orthogonalised(torch.diag(torch.tensor([3.0, 0.5])))
        >>> bool(((torch.linalg.svdvals(out) - 1).abs() < 0.35).all())
        True
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
