"""What a target's weights take once they are loaded, from their shapes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.targets.safetensors import Tensor
from probes.targets.target import Dtype, Quantization

if TYPE_CHECKING:
    from collections.abc import Mapping

_BYTES = {Dtype.FLOAT32: 4, Dtype.FLOAT16: 2, Dtype.BFLOAT16: 2}

_FLOATS = ("F32", "F16", "BF16")
"""Types that hold one weight each; others may be packed."""

NF4_BLOCK = 64
"""Weights that share one float32 scale."""

_KEPT_WHOLE = ("embed", "wte", "wpe", "lm_head", "norm", "ln_")
"""Parts of names of what NF4 leaves as it is."""


def estimate_loaded_bytes(
    tensors: Mapping[str, Tensor], quantization: Quantization, dtype: Dtype
) -> int:
    """Bytes of the weights in memory; what computing takes comes on top.

    Args:
        tensors: the weights by name, as stored.
        quantization: `nf4` takes half a byte a weight of the decoder's linear layers, and four
            bytes a block of 64 for their scales.
        dtype: of all others; `auto` is as stored.

    >>> from probes.targets.safetensors import Tensor
    >>> layer = {"model.layers.0.mlp.up_proj.weight": Tensor("F16", (64, 64))}
    >>> estimate_loaded_bytes(layer, Quantization.NONE, Dtype.FLOAT32)
    16384
    >>> estimate_loaded_bytes(layer, Quantization.NF4, Dtype.FLOAT16)
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


def estimate_least_bytes(
    parameters: Mapping[str, int], quantization: Quantization, dtype: Dtype
) -> int:
    """The fewest bytes that weights can take in memory, where their shapes are not known yet.

    Args:
        parameters: how many weights are stored in each type, by safetensors' names of those.
        quantization: as for `loaded_bytes`; under `nf4` every weight might take half a byte.
        dtype: as for `loaded_bytes`.

    >>> estimate_least_bytes({"BF16": 1000}, Quantization.NF4, Dtype.FLOAT16)
    500
    >>> estimate_least_bytes({"F32": 1000}, Quantization.NONE, Dtype.AUTO)
    4000
    """
    if quantization is Quantization.NF4:
        return sum(parameters.values()) // 2
    tensors = {n: Tensor(n, (count,)) for n, count in parameters.items() if n in _FLOATS}
    return estimate_loaded_bytes(tensors, quantization, dtype)
