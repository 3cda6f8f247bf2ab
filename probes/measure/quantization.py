"""Measure 4-bit weights: which layers have them, and how far they are from the originals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import MistralConfig
from transformers.pytorch_utils import Conv1D

from probes.measure import embeddings
from probes.measure.quantized_layers import stored_weight
from probes.schema.evidence.texts import WeightMemory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probes.engines.base import Prompt
    from probes.engines.transformers.engine import TransformersEngine

NF4_BLOCK = 64  # weights that share one scale, bitsandbytes' default

NF4_WIDEST_GAP = 1.0 - 0.6961928009986877
"""Largest distance between neighbouring NF4 levels, for a block scaled to 1."""


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
    """How a 4-bit layer's stored weights differ from the unquantized ones."""

    name: str  # dotted path in the network
    worst: float  # largest error of a weight over half of the widest gap between levels
    allowed: float  # the largest `worst` of correct rounding
    relative: float  # root mean square of the errors over that of the original weights


@torch.inference_mode()
def measure_layer_errors(
    model: TransformersEngine, original: TransformersEngine
) -> Iterator[LayerError]:
    """Compare the stored weights of every 4-bit layer with those of the unquantized model.

    A weight is scaled by the largest of its block and becomes the nearest of 16 levels, so it is
    off by half a gap of theirs at most. Before that, it is rounded to the dtype in which it is
    loaded, and bitsandbytes' kernels for the CPU round the scale to bfloat16: each adds a unit
    roundoff of the block's largest weight. The smallest fault seen is a weight that becomes the
    level next to the nearest one, where that lies 1 % (bfloat16: 5 %) of the widest gap farther.
    """
    for name, layer in model.network.named_modules():
        if getattr(getattr(layer, "weight", None), "quant_state", None) is None:
            continue
        source: Any = original.network.get_submodule(name)
        weight = source.weight.detach().float().cpu()
        weight = weight.T if isinstance(source, Conv1D) else weight
        error = (stored_weight(layer).cpu() - weight).abs()
        half_gap = block_maxima(weight) * NF4_WIDEST_GAP / 2
        packed = getattr(layer.weight.quant_state, "packing_format_for_cpu", False)
        dtypes = [model.network.dtype, torch.bfloat16 if packed else torch.float32, torch.float32]
        rounding = sum(torch.finfo(dtype).eps / 2 for dtype in dtypes)
        yield LayerError(
            name,
            worst=float((error / half_gap.clamp_min(torch.finfo(torch.float32).tiny)).max()),
            allowed=1 + rounding / (NF4_WIDEST_GAP / 2),
            relative=float(error.square().mean().sqrt() / weight.square().mean().sqrt()),
        )


def block_maxima(weight: torch.Tensor, block: int = NF4_BLOCK) -> torch.Tensor:
    """Return for every weight the largest magnitude in its block, in the shape of `weight`.

    Blocks run along the flattened rows; the last one may be shorter.

    >>> block_maxima(torch.tensor([[1.0, -3.0], [0.5, 2.0]]), block=2).tolist()
    [[3.0, 3.0], [2.0, 2.0]]
    """
    flat = weight.abs().flatten()
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % block)).view(-1, block)
    maxima = padded.amax(dim=1, keepdim=True).expand_as(padded)
    return maxima.flatten()[: len(flat)].view_as(weight)


@dataclass(frozen=True)
class LogitDistance:
    """How far two models' next-token logits differ over the positions of some texts."""

    cosine: float  # smallest cosine of a position's two logit vectors, each centred
    kl: float  # mean Kullback-Leibler divergence of the second from the first, in nats
    same_top: float  # share of positions with the same most likely token
    positions: int


def measure_logit_distance(
    one: TransformersEngine, other: TransformersEngine, texts: Sequence[str]
) -> LogitDistance:
    """Compare two models' logits on the same texts.

    >>> from probes import load
    >>> model = load("embedded")
    >>> measure_logit_distance(model, model, ["The capital of Japan is"]).same_top
    1.0
    """
    cosines, divergences, same = [], [], []
    for text in texts:  # one at a time: whole vocabularies of all of them are gigabytes
        ids = one.encode_prompt(text)
        a, b = one.logits(ids).double(), other.logits(ids).double()
        centred_a, centred_b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
        log_a, log_b = a.log_softmax(dim=1), b.log_softmax(dim=1)
        cosine = torch.cosine_similarity(centred_a, centred_b, dim=1)
        cosine[(a == b).all(dim=1)] = 1.0  # where all logits are equal nothing can be normalized
        cosines.append(cosine)
        divergences.append((log_a.exp() * (log_a - log_b)).sum(dim=1))
        same.append(a.argmax(dim=1) == b.argmax(dim=1))
    return LogitDistance(
        cosine=float(torch.cat(cosines).min()),
        kl=float(torch.cat(divergences).mean()),
        same_top=float(torch.cat(same).double().mean()),
        positions=len(torch.cat(same)),
    )


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
