"""What a network holds: weights, ties and the fields of its configurations, to be compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch

from probes.measure.quantized_weights import is_quantized, stored_bytes
from probes.measure.stored_values import bits_of

BOOKKEEPING = (
    *("transformers_version", "_name_or_path", "name_or_path", "_commit_hash"),
    *("architectures", "dtype", "torch_dtype", "_attn_implementation_autoset"),
)
"""Fields of a configuration by which the library says where, when and as what it was saved."""


def read_weights(network: Any) -> dict[str, torch.Tensor]:
    """Return what the modules hold, by name: of a quantized one its codes and scales as bytes."""
    found: dict[str, torch.Tensor] = {}
    by_length = any(kind in str(network.config.to_dict()) for kind in ("'dynamic'", "'longrope'"))
    for path, module in network.named_modules():
        if is_quantized(module):
            found[f"{path}.weight"] = stored_bytes(module)
        held = {**module._parameters, **module._buffers}
        for name, value in held.items():
            own = name == "weight" and is_quantized(module)
            # Frequencies that depend on the length are those of the last text.
            if value is not None and not own and not (by_length and name.endswith("inv_freq")):
                found[f"{path}.{name}".lstrip(".")] = value
    return found


def compare_weights(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]
) -> list[str]:
    """Name what has another value, type or shape, bit by bit, or is on one side alone.

    >>> one, other = {"a": torch.tensor([1.0])}, {"a": torch.tensor([1.0]).half()}
    >>> compare_weights(one, one), compare_weights(one, other)
    ([], ['a (float16, was float32)'])
    """
    changed = []
    for name in [*before, *(name for name in after if name not in before)]:
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            changed.append(f"{name} (only {'after' if one is None else 'before'})")
        elif one.dtype is not other.dtype:
            changed.append(f"{name} ({str(other.dtype)[6:]}, was {str(one.dtype)[6:]})")
        elif one is other:
            continue
        elif one.shape != other.shape or not torch.equal(bits_of(one), bits_of(other)):
            changed.append(name)
    return changed


def find_ties(network: Any) -> set[str]:
    """Return which parameters are one in memory."""
    names: defaultdict[int, list[str]] = defaultdict(list)
    for name, weight in network.named_parameters(remove_duplicate=False):
        names[weight.data_ptr()].append(name)
    return {" = ".join(sorted(each)) for each in names.values() if len(each) > 1}


def read_fields(network: Any) -> dict[str, Any]:
    """Return the fields of both configurations, those of generation with its name before them."""
    fields = {k: v for k, v in network.config.to_dict().items() if k not in BOOKKEEPING}
    own = network.generation_config.to_dict()
    return fields | {
        f"generation.{name}": value
        for name, value in own.items()
        if name not in BOOKKEEPING and not name.startswith("_")
    }


def compare_fields(
    before: dict[str, Any], after: dict[str, Any], refused: str
) -> dict[str, tuple[Any, Any]]:
    """Return the fields that are different, before and after.

    A setting of generation that an older configuration holds is moved by the library when it saves.
    If it `refused` to save them, settings of generation are not compared.

    >>> compare_fields({"top_k": 5}, {"top_k": None, "generation.top_k": 5}, "")
    {}
    """
    changed = {}
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one == other or (refused and name.startswith("generation.")):
            continue
        if other is None and after.get(f"generation.{name}") == one:
            continue
        if name.startswith("generation.") and before.get(name.partition(".")[2]) == other:
            continue
        changed[name] = (one, other)
    return changed
