"""Compute with a network's own weights in float32, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def has_quantized_weights(network: Any) -> bool:
    """Return whether a network computes with quantized weights.

    Those of a GGUF file were dequantized.
    """
    method = getattr(network, "quantization_method", None)
    return method is not None and str(getattr(method, "value", method)) != "gguf"


@contextmanager
def in_float32(network: Any) -> Iterator[None]:
    """Compute in float32 with the weights as they are, for a while; they return bit by bit."""
    kept = [
        (each, each.data)
        for each in (*network.parameters(), *network.buffers())
        if each.dtype in (torch.float16, torch.bfloat16)
    ]
    try:
        for each, data in kept:
            each.data = data.float()
        yield
    finally:
        for each, data in kept:
            each.data = data
