"""Faults of the sampling filters: temperature, top-k, top-p, their order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import (
    MIXIN,
    WARPERS,
    Patch,
    Wrapper,
    fault,
    result,
    swapped,
    wrapped,
)
from tests.faults.catalogue.loading import defaults

if TYPE_CHECKING:
    from probes import Model


def warper(name: str, change: Callable[[Any, Any], Any]) -> Patch:
    """Replace one of the library's filters by a function of the filter and the scores."""
    return wrapped(f"{WARPERS}{name}LogitsWarper", "__call__", lambda _, w, __, s: change(w, s))


@fault("a wrong norm of the hidden states: all steps have equally flat logits", "nucleus-adapts")
def logits_all_equally_flat(model: Model) -> Patch:
    # Every step's top is as sharp as any other's: the nucleus no longer says how sure the model is.
    return warper("TopP", lambda _, scores: keep(scores, 20))


def keep(scores: Any, count: int) -> Any:
    """Keep the scores of the `count` most likely tokens, and drop the others."""
    least = scores.topk(min(count, scores.shape[-1])).values[..., -1:]
    return scores.masked_fill(scores < least, -math.inf)


@fault(
    "the logits multiplied by the temperature",
    *("temperature-formula", "temperature-shape", "filter-order"),
    checks="not composition",
)
def temperature_inverted(model: Model) -> Patch:
    return warper("Temperature", lambda w, scores: scores * w.temperature)


@fault("a temperature 2 % too high", "temperature-formula", "filter-order")
def temperature_2_percent_high(model: Model) -> Patch:
    return warper("Temperature", lambda w, scores: scores / (1.02 * w.temperature))


@fault("a temperature 0.01 % too high", "temperature-formula")
def temperature_a_hundredth_percent_high(model: Model) -> Patch:
    return warper("Temperature", lambda w, scores: scores / (1.0001 * w.temperature))


@fault("logits divided in half precision", "temperature-formula")
def temperature_in_half_precision(model: Model) -> Patch:
    return warper("Temperature", lambda w, scores: (scores / w.temperature).half().to(scores.dtype))


@fault("k + 1 tokens kept: off by one", "top-k")
def top_k_keeps_one_more(model: Model) -> Patch:
    return warper("TopK", lambda w, scores: keep(scores, w.top_k + 1))


def exactly_k(scores: Any, count: int) -> Any:
    chosen = scores.topk(min(count, scores.shape[-1])).indices
    return scores.new_full(scores.shape, -math.inf).scatter(-1, chosen, scores.gather(-1, chosen))


@fault("tokens tied with the k-th token are dropped", "top-k", checks="ties")
def top_k_drops_ties(model: Model) -> Patch:
    return warper("TopK", lambda w, scores: exactly_k(scores, w.top_k))


def nucleus(more: int = 0, at_boundary: bool = False) -> Callable[[Any, Any], Any]:
    """Return a top-p filter with more or fewer tokens, or one that goes past a sum of p."""

    def kept(w: Any, scores: Any) -> Any:
        in_order, order = scores.sort(descending=False)
        mass = in_order.softmax(dim=-1).cumsum(dim=-1)
        drop = mass < 1 - w.top_p if at_boundary else mass <= 1 - w.top_p
        drop = drop.roll(-more, dims=-1)
        if more < 0:
            drop[..., :-more] = True
        drop[..., -1:] = False
        return scores.masked_fill(drop.scatter(1, order, drop), -math.inf)

    return kept


@fault("the nucleus is one token too large", "top-p-reference", "hidden-top-k", "filter-order")
def top_p_keeps_one_more(model: Model) -> Patch:
    return warper("TopP", nucleus(more=1))


@fault("the nucleus is one token too small", "top-p-reference")
def top_p_keeps_one_fewer(model: Model) -> Patch:
    return warper("TopP", nucleus(more=-1))


@fault(
    "one token too many where the sum equals p exactly (transformers 18976)",
    "top-p-reference",
    checks="exactly",
)
def top_p_keeps_one_more_at_the_boundary(model: Model) -> Patch:
    return warper("TopP", nucleus(at_boundary=True))


def processors(change: Callable[[list[Any]], list[Any]]) -> Patch:
    """Change the list of filters that `generate` uses."""
    from transformers import LogitsProcessorList

    made = result(lambda found: LogitsProcessorList(change(list(found))))
    return wrapped(MIXIN, "_get_logits_processor", made)


def is_temperature(processor: Any) -> bool:
    return type(processor).__name__.startswith("Temperature")


@fault(
    "the temperature applied after top-k and top-p (transformers 8686)",
    *("filter-order", "samples-follow-distribution"),
    checks="in_order or (wide-hot and first_tokens)",
)
def temperature_last(model: Model) -> Patch:
    return processors(lambda found: sorted(found, key=is_temperature))


@fault("top-p applied before top-k", "filter-order", checks="in_order")
def top_p_before_top_k(model: Model) -> Patch:
    return processors(
        lambda found: sorted(found, key=lambda p: type(p).__name__.startswith("TopK"))
    )


@fault(
    "sampling settings accepted and ignored",
    *("temperature-formula", "top-k", "hidden-top-k", "filter-order", "collapse"),
    "samples-follow-distribution",
    checks="generate or top_k_50 or five or (min-p and Once)",
)
def filters_not_applied(model: Model) -> Patch:
    return processors(lambda _: [])


@fault("a hidden top_k of 40 instead of 50", "hidden-top-k")
def hidden_top_k_of_40(model: Model) -> Patch:
    return defaults(top_k=40)


@fault("no hidden top_k, as requested in transformers 38549", "hidden-top-k")
def hidden_top_k_off(model: Model) -> Patch:
    return defaults(top_k=0)


@fault("top_k=0 treated as the default", "hidden-top-k", "temperature-formula")
def top_k_0_not_off(model: Model) -> Patch:
    def prepared(original: Wrapper, network: Any, *args: Any, **kwargs: Any) -> Any:
        return original(
            network, *args, **{k: v for k, v in kwargs.items() if (k, v) != ("top_k", 0)}
        )

    return wrapped(MIXIN, "_prepare_generation_config", prepared)


@fault("settings stored with the weights used where none were passed", "hidden-top-k")
def min_p_inherited(model: Model) -> Patch:
    return swapped(model.network.generation_config, "min_p", 0.05)
