"""Compare each decoder layer in half precision with float32, given the same input and weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from probes.engines.transformers import batching
from probes.engines.transformers.attention import list_attention, use_attention
from probes.engines.transformers.engine import TransformersEngine
from probes.engines.transformers.hooks import check_context_length
from probes.engines.transformers.layer_calls import (
    LayerCall,
    measure_scores,
    trace_calls,
    watch_range,
)
from probes.engines.transformers.layer_outputs import list_decoder_layers
from probes.engines.transformers.precision import has_quantized_weights, in_float32
from probes.errors import UndecidableError
from probes.measure.rounding_noise import COMPARISONS, RUNS, move_results
from probes.stats.goodness_of_fit import ERROR_BUDGET
from probes.stats.rounding import exceedance_factor
from probes.targets.capabilities import TWIN_LIMIT

PADDED = 4
"""Tokens by which the longest row is padded on the left."""


@dataclass(frozen=True)
class LayerPrecision:
    """How what a decoder layer returns in half precision differs from float32."""

    name: str
    attention: str
    # Relative change of what it returns at a position: the largest of all positions, or their
    # median in a layer of experts, as rounding may choose others.
    change: float
    tolerance: float  # the largest change that rounding explains
    broken: str = ""  # where it returns NaN or infinity: that, and what float32 makes of it
    reached: float = 0.0  # the largest number in it, in float32, if float16 does not reach it

    @property
    def explained(self) -> bool:
        """Whether rounding explains the difference."""
        return not self.broken and self.change <= self.tolerance


@dataclass(frozen=True)
class HalfPrecision:
    """How a network in half precision differs from float32, layer by layer."""

    dtype: str
    padding: str  # of the rows
    layers: list[LayerPrecision]
    # Largest relative change of what all layers together return at a position; None for a large
    # network, of which one layer at a time is converted.
    whole: float | None

    @property
    def overflow(self) -> LayerPrecision | None:
        """The first layer that leaves the range of float16, of which nothing more is decided."""
        return next((each for each in self.layers if each.reached), None)

    @property
    def unexplained(self) -> LayerPrecision | None:
        """The first layer that rounding does not explain, among those before an overflow."""
        left = set()  # the attentions with which a layer before has left the range
        for each in self.layers:
            if each.reached:
                left.add(each.attention)
            elif each.attention not in left and not each.explained:
                return each
        return None


@torch.inference_mode()
def compare_layers(
    model: TransformersEngine, rows: Sequence[Sequence[int]], dtype: str
) -> HalfPrecision:
    """Compute rows in half precision, and each layer again in float32 with the input it was given.

    The rows are padded on the left, with positions as `generate` makes them, for each attention
    implementation. How far rounding moves what a layer returns is simulated in float32, on eager
    attention, which rounds most. One layer at a time is in float32. Raises UndecidableError where
    the weights are quantized, or too large for a copy in this dtype beside them.

    >>> model = load("embedded")
    >>> found = compare_layers(model, [model.encode("The capital of Japan is")], "bfloat16")
    >>> len(found.layers), found.unexplained is None, 0 < found.whole < 0.1
    (8, True, True)
    """
    if has_quantized_weights(model.network):
        raise UndecidableError("its weights are quantized: they are in no half precision")
    is_small = model.checkpoint.weight_bytes <= TWIN_LIMIT
    if model.network.dtype is getattr(torch, dtype):
        half = model
    elif is_small:
        half = model.variant(dtype=dtype)
    else:
        raise UndecidableError(f"it is too large for a copy in {dtype} to be loaded beside it")
    try:
        return _compare_layers(half, rows, dtype, whole=is_small)
    finally:
        if half is not model and dtype == "float16":  # no other claim needs it
            model.discard_variant(half)


def _compare_layers(
    half: TransformersEngine, rows: Sequence[Sequence[int]], dtype: str, *, whole: bool
) -> HalfPrecision:
    if not list_decoder_layers(half.network):
        raise UndecidableError("its decoder layers are in no list")
    width = max(map(len, rows)) + PADDED
    check_context_length(half.config, width)
    ids, mask = batching.pad([[0] * width, *rows], 0, side="left")
    ids, mask = ids[1:], mask[1:]
    found: list[LayerPrecision] = []
    tolerances: dict[str, float] = {}
    of_all = 0.0
    moving = move_results(half.network, getattr(torch, dtype))
    for name in list_attention(half):  # eager is the first
        with use_attention(half, name) as computing:
            calls, states = trace_calls(computing.network, ids, mask)
            for each, call in calls.items():
                layer = computing.network.get_submodule(each)
                with in_float32(layer):
                    if each not in tolerances:
                        share = ERROR_BUDGET / COMPARISONS / len(calls)
                        tolerances[each] = _measure_tolerance(layer, call, mask, moving, share)
                    found.append(replace(_compare(layer, each, call, mask), attention=name))
            if whole:
                with in_float32(computing.network):
                    _, exact = trace_calls(computing.network, ids, mask)
                of_all = max(of_all, *_changes(states, exact, mask).tolist(), 0.0)
    found = [replace(each, tolerance=tolerances[each.name]) for each in found]
    padded = [int(each) for each in (mask == 0).sum(dim=1).tolist()]
    padding = f"{min(padded)} to {max(padded)} padded on the left"
    return HalfPrecision(dtype, padding, found, of_all if whole else None)


def _compare(layer: Any, name: str, call: LayerCall, mask: torch.Tensor) -> LayerPrecision:
    """Compare one layer's output with what it returns in float32, which it is in."""
    with watch_range(layer, mask) as reached:
        exact = call.repeat(layer)
    limit = torch.finfo(call.output.dtype).max
    largest = max(reached)
    broken, numbers = "", exact.isfinite().all(dim=-1)
    missing = numbers & ~call.output.isfinite().all(dim=-1)
    if not bool((numbers & (mask != 0)).any()):
        broken = "NaN or infinity, as in float32"
    elif bool((missing & (mask != 0)).any()):
        broken = "NaN or infinity, where float32 gives numbers"
        if largest < limit:
            largest = measure_scores(layer, call)
    elif bool(missing.any()):
        broken = "NaN or infinity at padding, where float32 gives numbers"
    change = _summarize(layer, _changes(call.output, exact, mask))
    over = largest if limit < largest < torch.inf else 0.0
    return LayerPrecision(name, "", change, 0.0, broken, over)


def _measure_tolerance(
    layer: Any, call: LayerCall, mask: torch.Tensor, moving: Callable[[], Any], error_rate: float
) -> float:
    """Return the largest change that rounding explains, of a layer in float32.

    It is derived as in `RoundingNoise.tolerance`, with all layers sharing the error rate of one
    comparison. A median varies less than the changes that it is the median of. The smallest fault
    seen in any layer of the embedded model: its output scaled by 2 % in fp16, by 15 % in bf16.
    """
    exact = call.repeat(layer)
    changes = []
    for _ in range(RUNS):
        with moving():
            moved = call.repeat(layer)
        changes.append(_summarize(layer, _changes(moved, exact, mask)))
    judged = int(mask.sum())
    return max(changes) * exceedance_factor(RUNS * judged, judged, error_rate)


def _changes(output: torch.Tensor, exact: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the relative change at each position that is not padding, infinite where it is NaN.

    Positions whose exact output is not finite are left out: what was given was not, either.
    """
    kept = (mask != 0) & exact.isfinite().all(dim=-1)
    change = (output.float() - exact.float()).norm(dim=-1)[kept]
    size = exact.float().norm(dim=-1)[kept]
    relative = torch.where(change == 0, 0.0, change / size)
    return torch.where(relative.isnan(), torch.inf, relative)


def _summarize(layer: Any, changes: torch.Tensor) -> float:
    if not len(changes):
        return 0.0
    return float(changes.median() if _has_experts(layer) else changes.max())


def _has_experts(layer: Any) -> bool:
    return any("expert" in name for name, _ in layer.named_modules())
