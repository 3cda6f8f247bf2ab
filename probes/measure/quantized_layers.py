"""Check that a quantized linear layer computes with the weights that it stores.

Each layer is given an input, and its output is compared with the product of that input and its
weights, decoded here from the stored codes and scales and multiplied in float64.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from probes.engines.transformers.hooks import explain_unpackable
from probes.errors import UndecidableError
from probes.measure.quantized_weights import (
    has_int8,
    is_quantized,
    kernel_dtype,
    kind_of,
    stored_weight,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from probes.engines.base import Prompt
    from probes.engines.transformers.engine import TransformersEngine

ROUNDINGS = 5
"""Roundings to the kernel's dtype between stored numbers and an output: of the input, the level,
the scale, their product and the output."""

INPUTS_AT_ONCE = 16
"""Inputs of a layer that are not 0 in one row of `make_comb`."""

MANY = (4, 5, 8, 32, 1536)
"""Numbers of rows that each layer is given together: kernels differ for one, for few and for
many."""

FEW_WEIGHTS = 2**27
"""Quantized weights of which all are multiplied with 1,536 rows on a CPU. On one thread the 106
million of SmolLM2-135M take 10 seconds, with all other inputs; 7 billion would take 11 minutes."""

ZERO = "any, as all stored weights are 0"
"""The worst input of a layer that computes nothing."""


@dataclass(frozen=True)
class LayerAgreement:
    """How a quantized layer's outputs differ from the product of input and stored weights."""

    name: str  # dotted path in the network
    kind: str  # `nf4`, `fp4` or `int8`
    fan_in: int
    worst_input: str  # the input with the largest share, such as `text` or `1,536 rows`
    share: float  # largest error of an output, as a share of what rounding explains
    relative: float  # root mean square of the errors after a text, over that of the outputs


@torch.inference_mode()
def compare_layers(
    model: TransformersEngine,
    prompt: Prompt,
    *,
    sampled: bool = False,
    thorough: bool = False,
    original: TransformersEngine | None = None,
) -> list[LayerAgreement]:
    """Compare every quantized layer of a network with the weights that it stores.

    If `sampled`, only the first, the middle and the last of those that have the same name in their
    block.

    The inputs are those that the layer gets after a prompt, all rows together, the last one alone,
    and repeated until there are as many as in `MANY`, for which other kernels are used; and the
    comb of `make_comb`, all and one. 1,536 rows take as long as a pass over a text of as many
    tokens: on a CPU a network of more than `FEW_WEIGHTS` gives them to the layers of a sample
    alone, unless `thorough`. Of the rows of a text those are left out whose values or outputs leave
    the range of the dtype. A layer whose weights are all 0 is none that computes, unless those of
    the original are, where there is one.

    >>> from probes import load
    >>> model = load("embedded").variant(quantization="nf4")
    >>> max(layer.share for layer in compare_layers(model, "The capital")) < 1
    True
    """
    if (reason := explain_unpackable(model.network)) is not None:
        raise UndecidableError(reason)
    with _capture_inputs(model) as inputs:
        # Without its head: logits need not be finite, as those of Gemma 3 in float16 are not.
        model.network.base_model(torch.tensor([model.encode_prompt(prompt)], device=model.device))
    sample = _sample(list(inputs))
    layers = {name: model.network.get_submodule(name) for name in inputs}
    weights = sum(layer.in_features * layer.out_features for layer in layers.values())
    all_rows = thorough or model.device.type != "cpu" or weights <= FEW_WEIGHTS
    found = []
    for name in sample if sampled else layers:
        layer, stored = layers[name], stored_weight(layers[name])
        if stored.any() or _is_zero(original, name):
            most = max(MANY) if all_rows or name in sample else max(MANY[:-1])
            found.append(_compare_layer(name, layer, stored, inputs[name], most))
        else:
            zero = LayerAgreement(
                name, kind_of(layer), layer.in_features, ZERO, torch.inf, torch.inf
            )
            found.append(zero)
    return found


def _sample(names: Sequence[str]) -> list[str]:
    """Return the first, the middle and the last of the names with the same last part."""
    by_part: dict[str, list[str]] = {}
    for name in names:
        by_part.setdefault(name.rpartition(".")[2], []).append(name)
    kept = {
        each[place] for each in by_part.values() for place in (0, len(each) // 2, len(each) - 1)
    }
    return [name for name in names if name in kept]


def _is_zero(original: TransformersEngine | None, name: str) -> bool:
    return original is not None and not original.network.get_submodule(name).weight.any()


# --- one layer -----------------------------------------------------------------------------------


def _compare_layer(
    name: str, layer: Any, stored: torch.Tensor, text: torch.Tensor, most_rows: int
) -> LayerAgreement:
    kind = kind_of(layer)
    if not stored.sum().isfinite():
        return LayerAgreement(name, kind, layer.in_features, "comb", torch.inf, torch.inf)
    rows = torch.cat([text, make_comb(layer.in_features).to(text)])
    # All inputs in one product: the weights in float64 are large.
    expected = rows.double() @ stored.double().T
    if layer.bias is not None:
        expected += layer.bias.double()
    limit = torch.finfo(kernel_dtype(layer)).max
    find_bound, is_finite = _remember_bounds(layer, stored, rows), rows.isfinite().all(dim=1)
    shares = {}
    for name_of_input, places in _choose_rows(len(text), len(rows), most_rows).items():
        used = places[: len(set(places))]
        right, bound = expected[used], find_bound(tuple(used))
        sound = is_finite[used] & (right.abs() + bound < limit).all(dim=1)
        outputs = layer(rows[torch.tensor(places, device=rows.device)])
        error = _largest_errors(outputs, right)
        if name_of_input == "text":
            kept = error[sound].square().mean().sqrt(), right[sound].square().mean().sqrt()
        share = (error.nan_to_num(nan=torch.inf) / bound)[sound]
        if len(share):
            shares[name_of_input] = float(share.max())
    worst = max(shares, key=shares.__getitem__)
    return LayerAgreement(
        name, kind, layer.in_features, worst, shares[worst], float((kept[0] / kept[1]).nan_to_num())
    )


def _largest_errors(outputs: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the largest error of rows that come again and again, of each: as `right`, float64.

    Outputs are NaN where one of them is.
    """
    if len(outputs) == len(right):
        return (outputs.double() - right).abs()
    each = [outputs[at :: len(right)] for at in range(len(right))]
    ends = (torch.stack([end(rows, dim=0) for rows in each]) for end in (torch.amin, torch.amax))
    low, high = ((end.double() - right).abs() for end in ends)
    return torch.maximum(low, high)


def _remember_bounds(
    layer: Any, stored: torch.Tensor, rows: torch.Tensor
) -> Callable[[tuple[int, ...]], torch.Tensor]:
    """Return a function of the rows that are in one call: their bounds.

    Only in int8 does the bound of a row depend on those beside it, whose outliers leave a column
    unrounded.
    """
    magnitude = stored.abs()
    whole = None if has_int8(layer) else output_bound(layer, magnitude, rows)

    @cache
    def find(used: tuple[int, ...]) -> torch.Tensor:
        places = [*used]
        return output_bound(layer, magnitude, rows[places]) if whole is None else whole[places]

    return find


def _choose_rows(text: int, total: int, most: int) -> dict[str, list[int]]:
    """Return which rows each input has, by its name: those of a text, then those of a comb.

    >>> _choose_rows(2, 3, most=4)
    {'text': [0, 1], '1 row': [1], '4 rows': [0, 1, 0, 1], 'comb': [2], 'comb, alone': [2]}
    """
    counts = {f"{count:,} rows": [at % text for at in range(count)] for count in MANY}
    return {
        "text": [*range(text)],
        "1 row": [text - 1],
        **{name: places for name, places in counts.items() if len(places) <= most},
        "comb": [*range(text, total)],
        "comb, alone": [text],
    }


def output_bound(layer: Any, magnitude: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return the largest errors of a layer's outputs that rounding explains: (rows, outputs).

    `rows` are those of one call; `magnitude` is that of the weights, in float32, in which the bound
    is summed: what this may round off is added.

    An output is a sum of n products. The kernel rounds each of them, and the sum, `ROUNDINGS` times
    to its dtype, of unit roundoff u, and sums in float32: in any order the error is at most
    (`ROUNDINGS` u + n 2^-24) Σ|x||w|, and half of the smallest number where one underflows. An
    int8 kernel also rounds each input to the nearest of 127 steps, by at most half of one, which
    adds Σ|x - x'||w|; the comb's inputs are such steps.

    The smallest fault seen: with the 16 inputs of a row of the comb, an output's scale off by about
    20 u (1 % in fp16, 8 % in bf16), or one weight off by 120 u times the mean magnitude (6 % and
    47 %). A wrong level of a 4-bit code is a multiple of that.
    """
    kernel = kernel_dtype(layer)
    unit = max(torch.finfo(each).eps for each in (kernel, rows.dtype)) / 2
    share = ROUNDINGS * unit + layer.in_features * torch.finfo(torch.float32).eps / 2
    sizes = rows.double().abs()
    moved = share * sizes
    if has_int8(layer):
        threshold = layer.state.threshold
        moved += (rows.double() - round_inputs(rows.double(), threshold)).abs()
    # n products and sums of positive numbers, and two roundings to float32.
    rounded_off = (layer.in_features + 2) * torch.finfo(torch.float32).eps
    bound: torch.Tensor = (moved.float() @ magnitude.T).double() * (1 + rounded_off)
    if layer.bias is not None:
        bound += share * layer.bias.double().abs()
    smallest = torch.finfo(kernel).smallest_normal * torch.finfo(kernel).eps / 2
    bound += smallest * (sizes.sum(dim=1, keepdim=True) + 1)
    return bound


def round_inputs(rows: torch.Tensor, threshold: float) -> torch.Tensor:
    """Round inputs as an int8 kernel does: each row to 127 steps up to its largest value.

    Columns with a value of the threshold or more are left as they are; 0 is no threshold.

    >>> round_inputs(torch.tensor([[127.0, 1.4, -3.6]]), 0.0).tolist()
    [[127.0, 1.0, -4.0]]
    """
    outliers = rows.abs() >= (threshold or math.inf)
    largest = rows.abs().masked_fill(outliers, 0.0).amax(dim=1, keepdim=True)
    step = (largest / 127).clamp_min(torch.finfo(rows.dtype).tiny)
    return torch.where(outliers.any(dim=0), rows, (rows / step).round() * step)


def make_comb(width: int) -> torch.Tensor:
    """Return rows of 1, -1 and 0 that together use every input once: (rows, width), float32.

    Few inputs are not 0 in a row, so that its outputs are small sums, in which a single wrong
    weight is larger than rounding.

    >>> make_comb(48).abs().sum(dim=0).unique().tolist(), int(make_comb(48)[0].count_nonzero())
    ([1.0], 16)
    """
    rows = max(1, width // INPUTS_AT_ONCE)
    comb = torch.zeros(rows, width)
    places = torch.arange(width)
    comb[places % rows, places] = 1.0 - 2.0 * (places // rows % 2)
    return comb


@contextmanager
def _capture_inputs(model: TransformersEngine) -> Iterator[dict[str, torch.Tensor]]:
    """Keep what each quantized layer is given, (rows, inputs), by its name."""
    inputs: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: Any, arguments: Sequence[torch.Tensor]) -> None:
            inputs[name] = arguments[0].detach().reshape(-1, arguments[0].shape[-1])

        return hook

    hooks = [
        layer.register_forward_pre_hook(keep(name))
        for name, layer in model.network.named_modules()
        if is_quantized(layer)
    ]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()
