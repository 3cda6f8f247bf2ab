"""Decode the weights that bitsandbytes' layers store, and count their bytes.

Nothing of bitsandbytes is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from probes.targets.target import Quantization

if TYPE_CHECKING:
    from probes.engines.transformers.engine import TransformersEngine

CPU_BLOCK = 32
"""Output rows that bitsandbytes' kernel for the CPU stores together."""


def is_quantized(layer: Any) -> bool:
    """Return whether a module is a linear layer that bitsandbytes quantized."""
    weight = getattr(layer, "weight", None)
    return getattr(weight, "quant_state", None) is not None or has_int8(layer)


def own_quantization(model: TransformersEngine) -> str | None:
    """Return how a target's own weights are quantized; None where a copy must be.

    >>> from probes import load
    >>> own_quantization(load("embedded")) is None
    True
    """
    if model.target.quantization is not Quantization.NONE:
        return str(model.target.quantization.value)
    stored = model.checkpoint.config.get("quantization_config")
    if not isinstance(stored, dict):
        return None
    if stored.get("load_in_8bit"):
        return str(Quantization.INT8.value)
    kind = str(stored.get("bnb_4bit_quant_type", "fp4"))
    return f"{kind}-double" if stored.get("bnb_4bit_use_double_quant") else kind


def has_int8(layer: Any) -> bool:
    """Return whether a layer stores its weights in 8 bits."""
    return getattr(getattr(layer, "weight", None), "dtype", None) is torch.int8 and hasattr(
        layer, "state"
    )


def kind_of(layer: Any) -> str:
    """Return how a quantized layer stores its weights: `nf4`, `fp4` or `int8`."""
    return "int8" if has_int8(layer) else str(layer.weight.quant_state.quant_type)


def kernel_dtype(layer: Any) -> torch.dtype:
    """Return the dtype in which a quantized layer's kernel multiplies."""
    if has_int8(layer):
        return torch.float16
    if getattr(layer.weight.quant_state, "packing_format_for_cpu", False):
        return torch.bfloat16
    chosen: torch.dtype = layer.compute_dtype or torch.float32
    return chosen


def stored_weight(layer: Any) -> torch.Tensor:
    """Decode the weights that a quantized layer stores: (outputs, inputs), float32, on its device.

    A 4-bit code is the number of one of 16 levels, to be multiplied by the scale of its block; an
    8-bit code is a 127th of the largest weight of its row.
    """
    if has_int8(layer):
        codes, scales = _int8_parts(layer)
        return codes.float() * scales.float().view(-1, 1) / 127
    codes, scales = four_bit_parts(layer)
    state = layer.weight.quant_state
    weights: torch.Tensor = state.code.to(codes.device).float()[codes]
    # One multiplication for each whole block: repeated scales would be as large as the weights.
    whole = len(codes) // state.blocksize * state.blocksize
    blocks = weights[:whole].view(-1, state.blocksize)
    blocks *= scales[: len(blocks), None]
    weights[whole:] *= scales[len(blocks) :]
    return weights.view(*state.shape)


def stored_bytes(layer: Any) -> torch.Tensor:
    """Return codes, levels, scales and shape of a quantized layer: uint8, flat, on the CPU.

    The order is the same however bitsandbytes packs the codes. They take about as much memory as
    there, and differ where a decoded weight does.
    """
    if has_int8(layer):
        codes, scales = _int8_parts(layer)
        parts = [codes, scales.float(), torch.tensor(codes.shape)]
    else:
        codes, scales = four_bit_parts(layer)
        state = layer.weight.quant_state
        halves = torch.nn.functional.pad(codes.to(torch.uint8), (0, len(codes) % 2)).view(-1, 2)
        levels = state.code.float()
        parts = [halves[:, 0] << 4 | halves[:, 1], levels, scales, torch.tensor(state.shape)]
    return torch.cat([each.contiguous().view(-1).view(torch.uint8).cpu() for each in parts])


def count_bytes(network: Any) -> int:
    """Return the bytes of a network's weights in memory, with the scales of those quantized.

    At a first pass on a CPU, bitsandbytes may repack 4-bit layers, with other scales.

    >>> from probes import load
    >>> model = load("embedded")
    >>> copies = [model.variant(quantization=kind, dtype="float32") for kind in ("none", "int8")]
    >>> [count_bytes(each.network) for each in copies]
    [18747904, 16994816]
    """
    total = int(sum(weight.nbytes for weight in network.parameters()))
    for layer in filter(is_quantized, network.modules()):
        if has_int8(layer):
            total += _int8_parts(layer)[1].nbytes
            continue
        state = layer.weight.quant_state
        scales = [state.absmax] + ([state.state2.absmax] if state.nested else [])
        total += sum(each.nbytes for each in scales)
    return total


def four_bit_parts(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a 4-bit layer's codes, of 16 levels, and its blocks' scales, in float32.

    Both are flat, the codes in the order of the weights' rows, as int32.
    """
    data, state = layer.weight.data.view(torch.uint8), layer.weight.quant_state
    outputs, inputs = state.shape
    if getattr(state, "packing_format_for_cpu", False):
        pairs = data.reshape(-1, CPU_BLOCK)
        codes = torch.cat([pairs & 15, pairs >> 4], dim=-1)
        codes = codes.reshape(outputs // CPU_BLOCK, inputs // 2, CPU_BLOCK, 2).transpose(1, 2)
        scales = state.absmax.T
    else:
        data = data.reshape(-1, 1)
        codes, scales = torch.cat([data >> 4, data & 15], dim=1), _decode_scales(state)
    return codes.reshape(-1)[: outputs * inputs].int(), scales.reshape(-1).float()


def _decode_scales(state: Any) -> torch.Tensor:
    """Return the scales of a layer's blocks, which double quantization stores as 8-bit codes."""
    scales: torch.Tensor = state.absmax
    if not state.nested:
        return scales
    second = state.state2
    levels: torch.Tensor = second.code.float()[state.absmax.int()]
    each = second.absmax.float().repeat_interleave(second.blocksize)[: len(levels)]
    decoded: torch.Tensor = levels * each + state.offset
    return decoded


def _int8_parts(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return codes and scales, which bitsandbytes moves at the first pass."""
    moved = layer.state.CB is not None
    codes = layer.state.CB if moved else layer.weight.data
    scales = layer.state.SCB if moved else layer.weight.SCB
    return codes, scales
