"""Keep what a pass gives to each decoder layer, and call layers again with it in float32."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from probes.engines.transformers.layer_outputs import list_decoder_layers


@dataclass
class LayerCall:
    """What a layer was given, and returned: (rows, positions, hidden size)."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    output: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def repeat(self, layer: Any) -> torch.Tensor:
        """Call a layer again with what it was given, in float32; return its output, on the CPU."""
        found: torch.Tensor = _first(layer(*_to_float(self.args), **_to_float(self.kwargs)))
        return found.cpu()


def trace_calls(
    network: Any, ids: torch.Tensor, mask: torch.Tensor
) -> tuple[dict[str, LayerCall], torch.Tensor]:
    """Return the calls of each layer in a pass without the head, and what the pass returns."""
    calls: dict[str, LayerCall] = {}

    def begin(name: str) -> Any:
        def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls[name] = LayerCall(args, kwargs)

        return hook

    def end(name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            calls[name].output = _first(output).cpu()

        return hook

    handles = []
    for name, layer in list_decoder_layers(network).items():
        handles.append(layer.register_forward_pre_hook(begin(name), with_kwargs=True))
        handles.append(layer.register_forward_hook(end(name)))
    decoder = network.base_model
    ids, mask = ids.to(network.device), mask.to(network.device)
    given = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if "position_ids" in inspect.signature(decoder.forward).parameters:
        given["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    try:
        out = decoder(**given)
    finally:
        for handle in handles:
            handle.remove()
    return calls, out[0].cpu()


class _LargestProduct(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the largest number in a batch of matrix products: scores of attention are no part's."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("bmm", "baddbmm"):
            self.largest = max(self.largest, float(found.abs().max()))
        return found


def measure_scores(layer: Any, call: LayerCall) -> float:
    """Return the largest number in the batched products of a call, in float32."""
    with _LargestProduct() as products:
        call.repeat(layer)
    return float(products.largest)


@contextmanager
def watch_range(layer: Any, mask: torch.Tensor) -> Iterator[list[float]]:
    """Keep the largest numbers that the parts of a layer take and return, padding left out."""
    reached: list[float] = []

    def look(value: Any) -> None:
        first = _first(value)
        if not isinstance(first, torch.Tensor) or not first.is_floating_point():
            return
        if first.shape[:2] == mask.shape:
            reached.append(float(first[mask.to(first.device) != 0].abs().max()))

    def hook(_: Any, args: tuple[Any, ...], output: Any) -> None:
        look(args)
        look(output)

    handles = [each.register_forward_hook(hook) for each in layer.modules()]
    try:
        yield reached
    finally:
        for handle in handles:
            handle.remove()


def _first(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return value[0] if value else None
    return value


def _to_float(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, (tuple, list)):
        return type(value)(map(_to_float, value))
    if isinstance(value, dict):
        return {key: _to_float(each) for key, each in value.items()}
    return value
