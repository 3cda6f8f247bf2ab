"""Choose the cache of `generate`, and whether its forward pass is compiled."""

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
