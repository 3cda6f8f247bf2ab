"""Continue a prompt from a cache that was filled before, and compare with one whole pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from probes.engines.base import Generation
from probes.engines.transformers.batching import keep_last_logits
from probes.engines.transformers.branches import find_plain_cache
from probes.engines.transformers.engine import TransformersEngine
from probes.measure.rounding_noise import as_texts, logits_along, simulate_noise
from probes.stats.rounding import largest_distance_change

NO_CACHE = "it returns no cache of keys and values alone"
"""Why nothing is continued: recurrent states need not be, by several tokens at once."""

COMPARED = 32
"""Positions at the end of a text whose logits are compared; those before it decide them."""


@dataclass(frozen=True)
class Continuation:
    """How logits computed from a filled cache differ from those of one pass."""

    name: str
    tokens: int  # of the whole text
    change: float  # largest change of the distance of a likely logit to the largest
    tolerance: float  # the largest that rounding explains
    refused: str = ""  # why the library does not do it, in its own words; then nothing changed

    @property
    def explained(self) -> bool:
        """Whether rounding explains the difference."""
        return self.change <= self.tolerance


@torch.inference_mode()
def continue_caches(
    model: TransformersEngine, ids: Sequence[int], others: Sequence[int]
) -> list[Continuation]:
    """Compute a text's logits in one pass, and from a cache in several ways.

    The text comes in two parts and in many; after its beginning, `others` come first and are
    cropped away again. A way that this version of the library refuses has its words.

    >>> model = load("embedded")
    >>> ids = model.encode("The capital of Japan is Tokyo.")
    >>> [found.name for found in continue_caches(model, ids, ids[:3]) if found.explained]
    ['two parts', 'many parts', 'cropped']
    """
    end = [Generation([*ids[:-COMPARED]], [[*ids[-COMPARED:], 0]], [""])]
    text = as_texts([ids]) if len(ids) <= COMPARED else end
    whole = logits_along(model, text)[0]
    tolerance = simulate_noise(model, text).tolerance
    half, third = len(ids) // 2, max(1, len(ids) // 5)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "two parts": lambda: _in_parts(model, [ids[:half], ids[half:]]),
        "many parts": lambda: _in_parts(
            model, [ids[at : at + third] for at in range(0, len(ids), third)]
        ),
        "cropped": lambda: _cropped(model, ids[:half], others, ids[half:]),
    }
    found = []
    for name, compute in ways.items():
        change, refused = 0.0, ""
        try:
            logits = compute()
        except (NotImplementedError, ValueError) as error:
            refused = " ".join(str(error).split())
        else:
            length = min(len(whole), len(logits))
            change = largest_distance_change(whole[-length:], logits[-length:])
        found.append(Continuation(name, len(ids), change, tolerance, refused))
    return found


def _in_parts(model: TransformersEngine, parts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the logits after the last tokens of each part, from one cache."""
    cache: Any = None
    steps = []
    for place, part in enumerate(parts):
        if place and cache is None:
            raise ValueError(NO_CACHE)
        logits, cache = _pass(model, part, cache)
        steps.append(logits)
    return torch.cat(steps)


def _cropped(
    model: TransformersEngine, start: Sequence[int], others: Sequence[int], rest: Sequence[int]
) -> torch.Tensor:
    """Return the logits after the rest, with other tokens in between that are cropped away."""
    _, cache = _pass(model, start, None)
    if not hasattr(cache, "crop"):
        raise ValueError(NO_CACHE)
    _, cache = _pass(model, others, copy.deepcopy(cache))
    try:  # newer versions take no length, only a number of tokens to remove
        cache.crop(-len(others))
    except RuntimeError as refused:  # past a sliding window the tokens before it are gone
        raise ValueError(str(refused)) from refused
    return _pass(model, rest, cache)[0]


def _pass(model: TransformersEngine, ids: Sequence[int], cache: Any) -> tuple[torch.Tensor, Any]:
    inputs = torch.tensor([[*ids]], device=model.device)
    keep = keep_last_logits(model.network, COMPARED + 1)
    out = model.network(input_ids=inputs, past_key_values=cache, use_cache=True, **keep)
    return out.logits[0].float().cpu(), find_plain_cache(getattr(out, "past_key_values", None))
