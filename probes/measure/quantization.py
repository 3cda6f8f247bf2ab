"""Measure 4-bit weights: which layers have them, and how far they are from the nearest levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import MistralConfig
from transformers.pytorch_utils import Conv1D

from probes.measure import embeddings
from probes.measure.quantized_weights import four_bit_parts
from probes.schema.evidence.texts import WeightMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.engines.base import Prompt
    from probes.engines.transformers.engine import TransformersEngine

NF4_BLOCK = 64  # weights that share one scale, bitsandbytes' default

NF4_LEVELS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""What a weight of a block becomes whose largest weight is 1, as published for QLoRA."""

ROUNDED = 8 * torch.finfo(torch.float32).eps / 2
"""How far float32 moves a weight of a block whose largest weight is 1, and a scale: the reciprocal
of the largest, which may be approximate, two products and the midpoints between levels."""


@dataclass(frozen=True)
class LinearLayer:
    """One linear layer and how its weight is stored."""

    name: str  # dotted path in the network
    role: str  # `decoder` or `output head`
    four_bit: bool
    parameters: int  # number of weights, before packing
    bytes: int  # of weight and scales in memory, without the bias
    expected_bytes: int  # by arithmetic, from `four_bit_bytes` or the size of the dtype


def list_linear_layers(model: TransformersEngine) -> list[LinearLayer]:
    """Describe every linear layer of the network, in order.

    >>> from probes import load
    >>> [layer.four_bit for layer in list_linear_layers(load("embedded"))][:2]
    [False, False]
    """
    head = model.network.get_output_embeddings()
    return [
        _describe_layer(name, layer, "output head" if layer is head else "decoder")
        for name, layer in model.network.named_modules()
        if isinstance(layer, (torch.nn.Linear, Conv1D))
    ]


def _describe_layer(name: str, layer: Any, role: str) -> LinearLayer:
    weight = layer.weight
    state = getattr(weight, "quant_state", None)
    if state is None:
        size = weight.numel() * weight.element_size()
        return LinearLayer(name, role, False, weight.numel(), size, size)
    parameters = math.prod(state.shape)
    scales = state.absmax.numel() * state.absmax.element_size()
    # bitsandbytes' kernels for the CPU repack scales to bfloat16; any other type is unexpected.
    repacked = state.absmax.dtype is torch.bfloat16
    expected = four_bit_bytes(parameters, scale_bytes=2 if repacked else 4)
    return LinearLayer(name, role, True, parameters, weight.numel() + scales, expected)


class LinearMemory(WeightMemory):
    """Bytes of a network's weights, with those of its linear layers by arithmetic."""

    expected_linear_bytes: int
    """`linear_bytes` by arithmetic."""


def measure_memory(model: TransformersEngine) -> LinearMemory:
    """Measure the bytes of a 4-bit model's weights, and compute them by arithmetic.

    >>> from probes import load
    >>> used = measure_memory(load("embedded").variant(quantization="nf4"))
    >>> used.linear_bytes == used.expected_linear_bytes
    True
    """
    layers = [layer for layer in list_linear_layers(model) if layer.role == "decoder"]
    linear_weights = {f"{layer.name}.weight" for layer in layers}
    others = [p for name, p in model.network.named_parameters() if name not in linear_weights]
    linear_bytes = sum(layer.bytes for layer in layers)
    linear_parameters = sum(layer.parameters for layer in layers)
    other_parameters = sum(p.numel() for p in others)
    return LinearMemory(
        linear_parameters=linear_parameters,
        other_parameters=other_parameters,
        linear_bytes=linear_bytes,
        expected_linear_bytes=sum(layer.expected_bytes for layer in layers),
        total_bytes=linear_bytes + sum(p.numel() * p.element_size() for p in others),
        fp16_bytes=2 * (linear_parameters + other_parameters),
    )


def compute_mistral_7b_memory() -> LinearMemory:
    """Compute the same for Mistral-7B-v0.1 by arithmetic: no weights are read.

    >>> round(compute_mistral_7b_memory().total_bytes / 1e9, 2)
    4.45
    """
    network = embeddings.network_without_weights(MistralConfig())
    head = network.get_output_embeddings()
    linear = [
        layer.weight.numel()
        for layer in network.modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    ]
    total = sum(parameter.numel() for parameter in network.parameters())
    four_bit = sum(four_bit_bytes(parameters) for parameters in linear)
    others = total - sum(linear)
    return LinearMemory(
        linear_parameters=sum(linear),
        other_parameters=others,
        linear_bytes=four_bit,
        expected_linear_bytes=four_bit,
        total_bytes=four_bit + 2 * others,
        fp16_bytes=2 * total,
    )


def four_bit_bytes(parameters: int, scale_bytes: int = 4) -> int:
    """Return the bytes of 4-bit weights: half a byte each, and a scale for each block of 64.

    >>> four_bit_bytes(128)
    72
    """
    return math.ceil(parameters / 2) + scale_bytes * math.ceil(parameters / NF4_BLOCK)


@dataclass(frozen=True)
class LayerError:
    """How a 4-bit layer's stored weights differ from the nearest levels of the original ones."""

    name: str  # dotted path in the network
    beyond: (
        float  # how far a weight lies nearer to another level, as a share of its block's largest
    )
    scale: float  # largest error of a block's scale, as a share of the block's largest weight
    share: float  # the larger of both, as a share of what rounding explains
    farthest: str  # which of both that is: `weight` or `scale`
    relative: float  # root mean square of the errors over that of the original weights

    def describe(self) -> str:
        """Describe what is farthest from correct rounding.

        >>> LayerError("q_proj", 0.04, 0.0, share=9e4, farthest="weight", relative=0.1).describe()
        'a weight of q_proj is nearer to another level, by 0.04 of the largest of its block'
        """
        if self.farthest == "scale":
            return f"a scale of {self.name} is off by {self.scale:.3g} times its block's largest"
        return (
            f"a weight of {self.name} is nearer to another level, by {self.beyond:.3g} of the "
            "largest of its block"
        )


@torch.inference_mode()
def measure_layer_errors(
    model: TransformersEngine, original: TransformersEngine
) -> Iterator[LayerError]:
    """Compare the stored weights of every 4-bit layer with those of the unquantized model.

    A weight is scaled by the largest of its block and becomes the nearest of 16 levels: it lies
    between the midpoints around its level, which only rounding in float32 may move. It is taken as
    the folder has it or rounded to the dtype in which it is loaded, whichever the layer fits.
    bitsandbytes' kernels for the CPU round the scales to bfloat16, which moves no weight to another
    level. The smallest faults seen: a weight that becomes the level next to the nearest one, where
    it lies more than a millionth of the block's largest beyond the midpoint, and a scale that is
    off by a millionth (bfloat16: 0.4 %).
    """
    for name, layer in model.network.named_modules():
        if getattr(getattr(layer, "weight", None), "quant_state", None) is None:
            continue
        source: Any = original.network.get_submodule(name)
        weight = source.weight.detach().float()
        weight = weight.T if isinstance(source, Conv1D) else weight
        loaded = weight.to(model.network.dtype).float()
        error = _measure_layer_error(name, layer, loaded)
        if error.share > 1 and not weight.equal(loaded):
            error = min(error, _measure_layer_error(name, layer, weight), key=lambda e: e.share)
        yield error


def _measure_layer_error(name: str, layer: Any, weight: torch.Tensor) -> LayerError:
    codes, scales = (part.to(weight.device) for part in four_bit_parts(layer))
    # What a code stands for in the layer, and between which weights it is the nearest in NF4. One
    # that is no level of NF4 is the nearest to itself alone.
    own = layer.weight.quant_state.code.to(weight.device).float()
    levels = torch.tensor(NF4_LEVELS, device=weight.device)
    midpoints = (levels[1:] + levels[:-1]) / 2
    ends = torch.tensor([torch.inf], device=weight.device)
    place = (own[:, None] - levels).abs().argmin(dim=1)
    is_level = (own - levels[place]).abs() < ROUNDED
    lowest = torch.where(is_level, torch.cat([-ends, midpoints])[place], own)
    highest = torch.where(is_level, torch.cat([midpoints, ends])[place], own)

    blocks = _split_blocks(weight.reshape(-1))
    largest = blocks.abs().amax(dim=1, keepdim=True)
    scaled = blocks / largest.clamp_min(torch.finfo(torch.float32).tiny)
    codes = _split_blocks(codes, fill=int(own.abs().argmin())).reshape(-1)
    below = lowest.index_select(0, codes).view_as(scaled).sub_(scaled).amax()
    above = highest.index_select(0, codes).view_as(scaled).sub_(scaled).neg_().amax()
    stored = own.index_select(0, codes).view_as(scaled).mul_(scales[:, None])
    off = (scales[:, None] - largest).abs() / largest.clamp_min(torch.finfo(torch.float32).tiny)

    beyond = max(0.0, float(below), float(above))
    scale = float(off.max().nan_to_num(nan=torch.inf))
    packed = getattr(layer.weight.quant_state, "packing_format_for_cpu", False)
    rounded = ROUNDED + (torch.finfo(torch.bfloat16).eps / 2 if packed else 0.0)
    share, farthest = max((beyond / ROUNDED, "weight"), (scale / rounded, "scale"))
    return LayerError(
        name,
        beyond=beyond,
        scale=scale,
        share=share,
        farthest=farthest,
        relative=float((stored - blocks).norm() / blocks.norm()),
    )


def _split_blocks(values: torch.Tensor, fill: int = 0) -> torch.Tensor:
    """Return blocks of the values that share a scale: (blocks, 64), the last one filled up."""
    missing = -len(values) % NF4_BLOCK
    return torch.nn.functional.pad(values, (0, missing), value=fill).view(-1, NF4_BLOCK)


@dataclass(frozen=True)
class DeviceMove:
    """Names of the parameters that change with a move, and the largest change of a logit."""

    changed_weights: list[str]
    largest_logit_change: float


@torch.inference_mode()
def move_to_own_device(model: TransformersEngine, prompt: Prompt) -> DeviceMove:
    """Move a model to its own device, and compare weights and logits with those before.

    >>> from probes import load
    >>> model = load("embedded").variant(quantization="nf4")
    >>> move_to_own_device(model, "The capital of Japan is").changed_weights
    []
    """
    network = model.network
    ids = torch.tensor([model.encode_prompt(prompt)], device=model.device)
    logits = network(ids).logits  # bitsandbytes may repack stored weights at the first pass
    before = {name: weight.clone() for name, weight in _stored_tensors(network)}
    network.to(model.device)
    changed = [name for name, weight in _stored_tensors(network) if not weight.equal(before[name])]
    return DeviceMove(changed, float((network(ids).logits - logits).abs().max()))


def _stored_tensors(network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every parameter as it is stored, and the scales of the 4-bit ones."""
    for name, parameter in network.named_parameters():
        yield name, parameter.data
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            yield f"{name}.absmax", state.absmax
