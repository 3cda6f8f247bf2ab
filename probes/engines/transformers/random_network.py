"""Randomly initialised weights, created on a device from a seed."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from probes.targets.safetensors import Tensor

SEED = 0


def create_random_weights(
    tensors: Mapping[str, Tensor], scale: float, dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    """Create a network's weights by name: the same again on the same device.

    `scale` is the standard deviation of a matrix's elements; those of a vector, a norm's, are 1.

    >>> from probes.targets.safetensors import Tensor
    >>> shapes = {"a": Tensor("F16", (2, 3)), "norm": Tensor("F16", (2,))}
    >>> weights = create_random_weights(shapes, 0.02, torch.float16, torch.device("cpu"))
    >>> weights["norm"].tolist(), weights["a"].shape
    ([1.0, 1.0], torch.Size([2, 3]))
    """
    generator = torch.Generator(device).manual_seed(SEED)
    return {
        name: torch.ones(tensor.shape, dtype=dtype, device=device)
        if len(tensor.shape) == 1
        else torch.empty(tensor.shape, dtype=dtype, device=device).normal_(
            0.0, scale, generator=generator
        )
        for name, tensor in tensors.items()
    }
