"""Measure the logits of reference prompts, by which two records are compared.

The prompts are in ``shared_prompts.toml``: some sixty, in many languages, code and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch

from probes._util.files import DATA
from probes._util.tomlfile import read_toml
from probes.engines.base import LogitsEngine
from probes.engines.transformers.engine import TransformersEngine
from probes.measure import rounding_noise
from probes.measure.differing_layer import find_in_batches
from probes.measure.rounding_noise import RoundingNoise
from probes.schema.evidence.distributions import PromptLogprobs
from probes.stats.rounding import largest_change, logit_tolerance

TOP = 24  # how many of a position's largest logits are kept
BATCH = 10  # prompts computed at once
DECIMALS = 4  # decimal places of a logit: a probability moves by a share of 0.00005 at most


@dataclass(frozen=True)
class ReferenceLogprobs:
    """The largest logits of the reference prompts, and how far rounding moves them."""

    prompts: list[PromptLogprobs]
    noise: float  # the largest change of one where the prompts are batched in another way
    tolerance: float  # the largest change that rounding explains


@cache
def load_reference_prompts() -> dict[str, list[str]]:
    """Return the prompts by language.

    >>> load_reference_prompts()["Japanese"][0]
    '日本の首都は'
    """
    file = DATA / "shared_prompts.toml"
    prompts: dict[str, list[str]] = read_toml(file)["prompts"]
    return prompts


def measure_logprobs(model: LogitsEngine, prompts: Sequence[str]) -> ReferenceLogprobs:
    """Compute the prompts in two ways of batching them, and keep the largest logits.

    >>> found = measure_logprobs(load("embedded"), ["The capital of Japan is", "Once upon a time"])
    >>> found.prompts[0].likeliest[-1], len(found.prompts[0].top_ids[-1])
    ('Tokyo', 24)
    """
    ids = [model.encode_prompt(prompt) for prompt in prompts]
    first, again = (_compute_in_batches(model, ids, batches) for batches in _batch_twice(ids))
    return ReferenceLogprobs(
        prompts=[_keep_largest(model, *each) for each in zip(prompts, ids, first, strict=True)],
        noise=max(largest_change(*pair, top=TOP) for pair in zip(first, again, strict=True)),
        tolerance=logit_tolerance(first, model.facts().dtype),
    )


def simulate_noise(model: TransformersEngine, prompts: Sequence[str]) -> RoundingNoise:
    """Measure how far rounding moves the largest logits of the prompts: one run over them."""
    texts = rounding_noise.as_texts([model.encode_prompt(prompt) for prompt in prompts])
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    change = partial(largest_change, top=TOP)
    found = [rounding_noise.simulate_noise(model, each, runs=1, change=change) for each in batches]
    return rounding_noise.RoundingNoise(
        largest=max(each.largest for each in found),
        steps=sum(each.steps for each in found),
        draws=sum(each.draws for each in found),
    )


def find_layer(model: TransformersEngine, prompts: Sequence[str]) -> str:
    """Say in which decoder layer the two ways of batching the prompts first differ."""
    ids = [model.encode_prompt(prompt) for prompt in prompts]
    return find_in_batches(model, ids, *_batch_twice(ids))


def _batch_twice(ids: Sequence[list[int]]) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Return two ways to batch the prompts: in their order, and the longest first."""
    order = range(len(ids))
    longest_first = sorted(order, key=lambda place: len(ids[place]))[::-1]
    in_order, by_length = (
        [each[start : start + BATCH] for start in range(0, len(ids), BATCH)]
        for each in (order, longest_first)
    )
    return [*in_order], [*by_length]


def _compute_in_batches(
    model: LogitsEngine, ids: Sequence[list[int]], batches: Sequence[Sequence[int]]
) -> list[torch.Tensor]:
    """Compute the logits in these batches of prompts, and return them in the prompts' own order."""
    logits: dict[int, torch.Tensor] = {}
    for places in batches:
        computed = model.logits_batch([ids[place] for place in places])
        logits |= dict(zip(places, computed, strict=True))
    return [logits[place] for place in range(len(ids))]


def _keep_largest(
    model: LogitsEngine, prompt: str, ids: list[int], logits: torch.Tensor
) -> PromptLogprobs:
    top = logits.topk(min(TOP, logits.shape[-1]), dim=-1)
    rest = logits.scatter(1, top.indices, -torch.inf).logsumexp(dim=-1)
    return PromptLogprobs(
        prompt=prompt,
        ids=ids,
        top_ids=top.indices.tolist(),
        top_logits=[[round(x, DECIMALS) for x in row] for row in top.values.tolist()],
        log_rest=[round(x, DECIMALS) for x in rest.tolist()],
        likeliest=[model.decode([row[0]]) for row in top.indices.tolist()],
    )
