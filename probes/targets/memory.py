"""What a target's weights take once they are loaded, from their shapes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.targets import Dtype, Quantization

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probes.targets.weights import Tensor

_BYTES = {Dtype.FLOAT32: 4, Dtype.FLOAT16: 2, Dtype.BFLOAT16: 2}

NF4_BLOCK = 64
"""Weights that share one float32 scale."""

_KEPT_WHOLE = ("embed", "wte", "wpe", "lm_head", "norm", "ln_")
"""Parts of names of what NF4 leaves as it is."""


def loaded_bytes(tensors: Mapping[str, Tensor], quantization: Quantization, dtype: Dtype) -> int:
    """Bytes of the weights in memory; what computing takes comes on top.

    Args:
        tensors: the weights by name, as stored.
        quantization: `nf4` takes half a byte a weight of the decoder's linear layers, and four
            bytes a block of 64 for their scales.
        dtype: of all others; `auto` is as stored.

    >>> from probes.targets.weights import Tensor
    >>> layer = {"model.layers.0.mlp.up_proj.weight": Tensor("F16", (64, 64))}
    >>> loaded_bytes(layer, Quantization.NONE, Dtype.FLOAT32)
    16384
    >>> loaded_bytes(layer, Quantization.NF4, Dtype.FLOAT16)
    2304
    """
    total = 0
    for name, tensor in tensors.items():
        linear = len(tensor.shape) == 2 and not any(part in name for part in _KEPT_WHOLE)
        if quantization is Quantization.NF4 and linear:
            total += tensor.elements // 2 + 4 * -(-tensor.elements // NF4_BLOCK)
        else:
            total += tensor.elements * _BYTES[dtype] if dtype in _BYTES else tensor.bytes
    return total
