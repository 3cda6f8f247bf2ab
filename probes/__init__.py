"""Behavioural tests for causal language models.

Measurements say what a tokenizer, an embedding matrix and decoding do; claims assert what they must
do. ``import probes`` is cheap: what needs torch is imported when it is first named.

>>> import probes
>>> model = probes.load("embedded")
>>> model.encode("The capital of Japan is")
[1, 415, 5565, 302, 4720, 349]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from probes._util.version import __version__

if TYPE_CHECKING:
    from probes.compare.records import compare as compare_records
    from probes.engines.base import Generation
    from probes.engines.transformers.engine import TransformersEngine as Model
    from probes.engines.transformers.engine import load
    from probes.errors import UserError
    from probes.plugin.launch import run
    from probes.results.reading import read as read_record
    from probes.schema.sampling import Sampling


_HOME = {
    "Generation": ("probes.engines.base", "Generation"),
    "Model": ("probes.engines.transformers.engine", "TransformersEngine"),
    "Sampling": ("probes.schema.sampling", "Sampling"),
    "UserError": ("probes.errors", "UserError"),
    "compare_records": ("probes.compare.records", "compare"),
    "load": ("probes.engines.transformers.engine", "load"),
    "read_record": ("probes.results.reading", "read"),
    "run": ("probes.plugin.launch", "run"),
}

__all__ = [
    "Generation",
    "Model",
    "Sampling",
    "UserError",
    "__version__",
    "compare_records",
    "load",
    "read_record",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
