"""Choose the cache of `generate`, and whether its forward pass is compiled; drop a kept one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transformers
from transformers import GenerationConfig

if TYPE_CHECKING:
    from probes.engines.transformers.engine import TransformersEngine


def explain_uncompilable(model: TransformersEngine, cache: str) -> str:
    """Return why the forward pass cannot be compiled; empty if it can."""
    if cache != "static":
        return "transformers compiles the forward pass with a static cache alone"
    if model.device.type != "cuda":
        return f"transformers compiles on a CUDA device alone, and this is {model.device.type}"
    if not hasattr(GenerationConfig(), "disable_compile"):
        return f"transformers {transformers.__version__} does not say whether it compiles"
    return ""


def choose_cache(cache: str, *, compiled: bool) -> dict[str, Any]:
    """Return arguments of `generate` for a cache; a static one compiles only if asked to."""
    if cache == "dynamic":
        return {}
    known = hasattr(GenerationConfig(), "disable_compile")  # otherwise it compiles on request only
    return {"cache_implementation": cache} | ({"disable_compile": not compiled} if known else {})


def can_continue_cache(network: Any) -> bool:
    """Return whether `generate` continues a cache that it is given, under the weights' settings.

    Beams and parts of a prompt fill a cache in other ways; one that is named is the library's own.
    Up to transformers 4.53 some networks take caches of `forward` as tuples alone.
    """
    settings = network.generation_config
    return (
        getattr(network, "_supports_cache_class", True)
        and all(
            getattr(each, "use_cache", None) is not False for each in (settings, network.config)
        )
        and settings.cache_implementation is None
        and settings.num_beams in (None, 1)
        and getattr(settings, "prefill_chunk_size", None) is None
    )


def drop_kept_cache(network: Any) -> None:
    """Remove a static cache that `generate` left in a network as one of its modules.

    transformers 4.46 does: the cache's tensors then count among the network's weights.

    >>> from torch import nn
    >>> network = nn.Module()
    >>> network.head, network._cache = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> drop_kept_cache(network)
    >>> sorted(network.state_dict())
    ['head.bias', 'head.weight']
    """
    network._modules.pop("_cache", None)
