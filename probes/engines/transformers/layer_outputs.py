"""Keep what each decoder layer of a network returns while it computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from probes.engines.transformers.hooks import count_cached, get_forward_input

Outputs = dict[str, torch.Tensor]


@dataclass
class LayerPass:
    """One forward pass."""

    positions: int
    cached: int
    """Positions in the cache before it."""
    outputs: Outputs = field(default_factory=dict)
    """By a layer's path, what it returned: (rows, positions kept, hidden size), float32."""

    def continues(self, before: LayerPass) -> bool:
        """Return whether this pass is the next step of the generation that one was part of."""
        if self.cached:
            return True
        return not before.cached and self.positions == before.positions + 1


def list_decoder_layers(network: Any) -> dict[str, Any]:
    """Return a network's decoder layers by their paths; none where they are in no list.

    >>> list(list_decoder_layers(load("embedded").network))[:2]
    ['model.layers.0', 'model.layers.1']
    """
    count = network.config.get_text_config().num_hidden_layers
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return {f"{name}.{place}": layer for place, layer in enumerate(module)}
    return {}


@contextmanager
def trace_layers(network: Any, *, whole: bool = False) -> Iterator[list[LayerPass]]:
    """Keep what each decoder layer returns in each pass: for the last position, or for `whole`."""
    passes: list[LayerPass] = []

    def begin(_: Any, args: Any, kwargs: Any) -> None:
        positions = get_forward_input(args, kwargs).shape[1]
        passes.append(LayerPass(positions, count_cached(kwargs.get("past_key_values"))))

    def keep(name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, (tuple, list)) else output
            passes[-1].outputs[name] = first[:, 0 if whole else -1 :].float().cpu()

        return hook

    handles = [network.register_forward_pre_hook(begin, with_kwargs=True)]
    handles += [
        layer.register_forward_hook(keep(name))
        for name, layer in list_decoder_layers(network).items()
    ]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()


def split_by_row(passes: Sequence[LayerPass]) -> list[Outputs]:
    """Return what each row of some generations got, call by call: by layer, (steps, hidden size).

    Rows are padded on the left: the last position of a pass is a row's newest token. There are no
    rows where a step adds several tokens, as drafted decoding does.
    """
    if any(each.cached and each.positions > 1 for each in passes):
        return []
    calls: list[list[LayerPass]] = []
    for each in passes:
        if calls and each.continues(calls[-1][-1]):
            calls[-1].append(each)
        else:
            calls.append([each])
    rows: list[Outputs] = []
    for steps in calls:
        joined = {
            name: torch.stack([step.outputs[name][:, -1] for step in steps], dim=1)
            for name in steps[0].outputs
        }
        count = len(next(iter(joined.values()), []))
        rows += [{name: each[row] for name, each in joined.items()} for row in range(count)]
    return rows
