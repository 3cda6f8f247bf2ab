"""The attention implementations that a network can use, and how it uses another for a while."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from transformers.utils.import_utils import is_flash_attn_2_available

from probes.targets.capabilities import TWIN_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.engines.transformers.engine import TransformersEngine


def list_attention(model: TransformersEngine) -> list[str]:
    """Return the implementations that can be used here: its own alone where none can be chosen.

    They are those of the network, device and dtype. Where the library cannot switch a loaded
    network, which transformers 4.54 and newer can, it is loaded again if it is small enough.

    >>> list_attention(load("embedded"))
    ['eager', 'sdpa']
    """
    if not can_switch_attention(model) and model.checkpoint.weight_bytes > TWIN_LIMIT:
        return [model.network.config._attn_implementation]
    found = ["eager"]
    if model.network._supports_sdpa:
        found.append("sdpa")
    half = model.network.dtype in (torch.float16, torch.bfloat16)
    if half and model.device.type == "cuda" and is_flash_attn_2_available():
        found.append("flash_attention_2")
    return found


def can_switch_attention(model: TransformersEngine) -> bool:
    """Return whether transformers is 4.54 or newer."""
    return hasattr(model.network, "set_attn_implementation")


def with_attention(model: TransformersEngine, name: str) -> TransformersEngine:
    """Return what computes with an attention implementation: itself where that can be switched."""
    return model if can_switch_attention(model) else model.variant(attn_implementation=name)


@contextmanager
def use_attention(model: TransformersEngine, name: str) -> Iterator[TransformersEngine]:
    """Compute with an attention implementation for a while, by what `with_attention` returns."""
    other = with_attention(model, name)
    if not can_switch_attention(model):
        yield other
        return
    network = model.network
    before = network.config._attn_implementation
    network.set_attn_implementation(name)
    try:
        yield other
    finally:
        network.set_attn_implementation(before)
