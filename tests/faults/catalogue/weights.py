"""Faults of what a network takes from its folder: positions, weights, ties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import Patch, Wrapper, fault, swapped, wrapped

if TYPE_CHECKING:
    from probes import Model


@fault("the base of another architecture is taken: rope_theta is not read", "rope-formula")
def rope_base_of_another_architecture(model: Model) -> Patch:
    rope = model.network.model.rotary_emb
    return swapped(rope, "inv_freq", rope.inv_freq**1.5)


@fault(
    "rotary frequencies left uninitialised: finite, and wrong (transformers 48892)", "rope-formula"
)
def rope_left_uninitialised(model: Model) -> Patch:
    import torch

    rope = model.network.model.rotary_emb
    left = torch.linspace(0.1, 0.9, len(rope.inv_freq)).to(rope.inv_freq)
    return swapped(rope, "inv_freq", left)


@fault("positions past the window that are interpolated, without being asked", "rope-formula")
def rope_interpolated_past_the_window(model: Model) -> Patch:
    window = model.network.config.max_position_embeddings

    def turn(original: Wrapper, inputs: Any, position_ids: Any, *args: Any, **kwargs: Any) -> Any:
        scale = max(1.0, (int(position_ids.max()) + 1) / window)
        return original(inputs, position_ids / scale, *args, **kwargs)

    return wrapped(model.network.model.rotary_emb, "forward", turn)


@fault("rotary positions off by one", "rope-formula")
def rope_one_position_on(model: Model) -> Patch:
    def turn(original: Wrapper, inputs: Any, position_ids: Any, *args: Any, **kwargs: Any) -> Any:
        return original(inputs, position_ids + 1, *args, **kwargs)

    return wrapped(model.network.model.rotary_emb, "forward", turn)
