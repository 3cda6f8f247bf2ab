"""Behavioural tests for causal language models.

Probes measure what a tokenizer, an embedding matrix and decoding do; claims assert what they must
do. ``import probes`` is cheap: a module that needs torch is imported when it is first named.

>>> import probes
>>> model = probes.load("embedded")
>>> model.encode("The capital of Japan is")
[1, 415, 5565, 302, 4720, 349]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes import (
        answers,
        decoding,
        determinism,
        distributions,
        draws,
        embeddings,
        filters,
        generation,
        geometry,
        goodness,
        hard_logits,
        knowledge,
        library_filters,
        meaning,
        outputs,
        published,
        quantization,
        questions,
        recording,
        reference,
        repetition,
        shared_prompts,
        stories,
        temperature,
        throughput,
        tokens,
        traces,
        variety,
        words,
    )
    from probes.model import Model, load
    from probes.sampling import Sampling

__version__ = "0.1.0"

__all__ = [
    "Model",
    "Sampling",
    "answers",
    "decoding",
    "determinism",
    "distributions",
    "draws",
    "embeddings",
    "filters",
    "generation",
    "geometry",
    "goodness",
    "hard_logits",
    "knowledge",
    "library_filters",
    "load",
    "meaning",
    "outputs",
    "published",
    "quantization",
    "questions",
    "recording",
    "reference",
    "repetition",
    "shared_prompts",
    "stories",
    "temperature",
    "throughput",
    "tokens",
    "traces",
    "variety",
    "words",
]

_HOME = {"Model": "probes.model", "Sampling": "probes.sampling", "load": "probes.model"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """Public names, for completion."""
    return sorted([*globals(), *__all__])
