"""Estimate the memory of a target's weights, and place them on CUDA devices."""

from __future__ import annotations

from collections.abc import Mapping

from probes._util.progress import LARGE
from probes.errors import UserError
from probes.targets.safetensors import Tensor
from probes.targets.target import Dtype, Quantization, Target

WEIGHTS_SHARE = 0.9
"""Share of a device's free memory for split weights: caches and logits need the rest."""

NF4_BLOCK = 64
"""Weights that share one float32 scale."""

_BYTES = {Dtype.FLOAT32: 4, Dtype.FLOAT16: 2, Dtype.BFLOAT16: 2}
_UNPACKED = ("F32", "F16", "BF16")
_NOT_QUANTIZED = ("embed", "wte", "wpe", "lm_head", "norm", "ln_")
"""Parts of names of matrices that quantization leaves as they are."""


def format_gb(size: float) -> str:
    """Format a size in bytes for a message, such as `14.5 GB`."""
    return f"{size / 1e9:.1f} GB"


def estimate_loaded_bytes(
    tensors: Mapping[str, Tensor], quantization: Quantization, dtype: Dtype
) -> int:
    """Return the bytes of weights in memory; computing needs some more.

    4-bit quantization takes half a byte for each weight of the decoder's linear layers, and four
    bytes for the scale of each block of 64; `int8` a byte, and four for each row. All other weights
    have the dtype; `auto` is the stored one.

    >>> layer = {"model.layers.0.mlp.up_proj.weight": Tensor("F16", (64, 64))}
    >>> estimate_loaded_bytes(layer, Quantization.NF4, Dtype.FLOAT16)
    2304
    """
    total = 0
    for name, tensor in tensors.items():
        linear = len(tensor.shape) == 2 and not any(part in name for part in _NOT_QUANTIZED)
        if quantization.four_bit and linear:
            total += tensor.elements // 2 + 4 * -(-tensor.elements // NF4_BLOCK)
        elif quantization is Quantization.INT8 and linear:
            total += tensor.elements + 4 * tensor.shape[0]
        else:
            total += tensor.elements * _BYTES[dtype] if dtype in _BYTES else tensor.bytes
    return total


def estimate_least_bytes(
    parameters: Mapping[str, int], quantization: Quantization, dtype: Dtype
) -> int:
    """Return a lower bound of the bytes in memory, from the number of weights of each stored type.

    >>> estimate_least_bytes({"BF16": 1000}, Quantization.NF4, Dtype.FLOAT16)
    500
    """
    if quantization.four_bit:
        return sum(parameters.values()) // 2
    if quantization is Quantization.INT8:
        return sum(parameters.values())
    tensors = {n: Tensor(n, (count,)) for n, count in parameters.items() if n in _UNPACKED}
    return estimate_loaded_bytes(tensors, quantization, dtype)


def place(target: Target, needed: int, copies: int = 0) -> dict[int, int] | None:
    """Find room for a target's weights on the CUDA devices that torch sees, or raise UserError.

    Each worker has one of the `copies` on a device; with 0 this process alone loads the model,
    which may then be split. Returns None where nothing is split, else the bytes that transformers
    may use on each device (of quantized weights it keeps a tenth of them back).
    """
    if not _uses_cuda(target, needed):
        return None
    import torch

    named = ":" in target.device
    index, count = int(target.device.partition(":")[2] or 0), torch.cuda.device_count()
    free, total = _free_bytes(index), torch.cuda.mem_get_info(index)[1]
    if max(1, copies) * needed <= free:
        return None
    # A named device excludes the others, and a worker uses one device only.
    every = [] if named else [_free_bytes(each) for each in range(count)]
    room = WEIGHTS_SHARE * sum(every)
    splits = needed <= room
    quantized = target.quantization is not Quantization.NONE
    if splits and not copies:
        return {
            each: int((1 if quantized else WEIGHTS_SHARE) * size) for each, size in enumerate(every)
        }

    weights = f"{format_gb(needed)}{f' in {target.quantization.value}' if quantized else ''}"
    if copies > 1:
        weights = f"{copies} × {weights}, a copy for each worker"
    available = f"cuda:{index} has {format_gb(free)} free of {format_gb(total)}"
    if count > 1 and not named and not copies:
        available = (
            f"the {count} CUDA devices have {format_gb(sum(every))} free together, "
            f"of which weights may take {format_gb(room)}"
        )
    quantize = "" if quantized else "--quantization nf4, or "
    advice = f"end what else runs there, or choose {quantize}a device with more memory"
    if copies > 1 and needed <= free:
        advice = "take fewer workers with -n"
    elif copies and splits:
        advice = f"leave out -n, so that the weights are split over the {count} devices"
    raise UserError(f"its weights take {weights}, and {available}: {advice}")


def _free_bytes(index: int) -> int:
    """Return the free memory of a CUDA device, including what torch has reserved but not used."""
    import torch

    free: int = torch.cuda.mem_get_info(index)[0]
    return free + torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)


def _uses_cuda(target: Target, needed: int) -> bool:
    if target.device != "auto":
        return target.device.startswith("cuda")
    if needed < LARGE:  # too small to import torch for
        return False
    import torch

    return torch.cuda.is_available()
