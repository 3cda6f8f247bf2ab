"""Draws from `generate`, thousands at a time, and how well they fit the computed distribution.

However many draws are made after one prompt, the network says the same: so it is asked once, and
`generate` - all of it, from its defaults to its random numbers - runs on a stand-in whose forward
pass returns those logits for every row. On a CPU drawing from 32000 tokens is slow, and the law of
drawing does not depend on their number: so most draws are made from the logits of the likeliest
tokens alone, and fewer from the whole vocabulary.
"""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from transformers.modeling_outputs import CausalLMOutputWithPast

from probes.engines.base import Prompt
from probes.engines.transformers.engine import TransformersEngine as Model
from probes.schema.sampling import Sampling
from probes.stats import sampling_reference as filters
from probes.stats.goodness_of_fit import Fit, goodness_of_fit

LOGITS_AT_ONCE = 2**23
"""Most logits, rows times tokens, of one call: what it takes does not grow with the draws."""


@dataclass(frozen=True)
class Draws:
    """Draws and what they were drawn from.

    Attributes:
        counts: (outcomes,), int64, how often each was drawn.
        probabilities: (outcomes,), float64, from the raw logits and the settings.
        fit: the G-test of the two.
    """

    counts: torch.Tensor
    probabilities: torch.Tensor
    fit: Fit


def first_tokens(
    model: Model, prompt: Prompt, sampling: Sampling, *, count: int, seed: int, likeliest: int = 0
) -> Draws:
    """Draw the first token many times through `generate`, and test the draws.

    Args:
        model: the target.
        prompt: what to continue.
        sampling: how to draw.
        count: how many draws.
        seed: of the draws.
        likeliest: draw from so many of the likeliest tokens alone; 0 is the whole vocabulary.

    >>> from probes import load
    >>> drawn = first_tokens(
    ...     load("embedded"), "Once", Sampling(top_k=3), count=100, seed=0, likeliest=64
    ... )
    >>> len(drawn.counts), int(drawn.counts.count_nonzero()) <= 3
    (64, True)
    """
    logits = model.logits(prompt)[-1]
    if likeliest:
        logits = logits.topk(min(likeliest, len(logits))).values
    probabilities = filters.log_probabilities(logits, sampling).exp()
    drawn = _drawn(model, prompt, logits.unsqueeze(0), sampling, count, seed)[:, 0]
    # Of tokens that tie at the nucleus' edge the library may keep others: they count as one.
    values, outcome = np.unique(logits.numpy(), return_inverse=True)
    together = torch.from_numpy(outcome)
    each = torch.zeros(len(values), dtype=probabilities.dtype).index_add(0, together, probabilities)
    return _tested(together[drawn], each)


def token_pairs(
    model: Model, prompt: Prompt, sampling: Sampling, *, count: int, seed: int
) -> Draws:
    """Draw the first two tokens together, and test the draws against their joint distribution.

    Args:
        model: the target.
        prompt: what to continue.
        sampling: how to draw; it must keep few tokens, as every pair of them is an outcome.
        count: how many draws.
        seed: of the draws.

    Returns:
        Counts and probabilities over the pairs of kept tokens and, last, all other pairs.

    >>> from probes import load
    >>> drawn = token_pairs(load("embedded"), "Once", Sampling(top_k=2), count=100, seed=0)
    >>> int(drawn.counts[-1])
    0
    """
    whole = model.logits(prompt)[-1]
    kept = filters.apply_filters(whole, sampling).isfinite().nonzero().flatten()
    after = model.logits_after(prompt, kept.unsqueeze(1).tolist())[:, -1]
    # A vocabulary of the kept tokens and all those that may follow them.
    following = filters.apply_filters(after, sampling).isfinite().any(dim=0)
    following[kept] = True
    tokens = following.nonzero().flatten()
    first, second = whole[tokens], after[:, tokens]
    rows = torch.searchsorted(tokens, kept)
    table = first.repeat(len(tokens) + 1, 1)
    table[rows + 1] = second
    joint = _joint(first, second, rows, sampling)
    drawn = _drawn(model, prompt, table, sampling, count, seed, length=2)
    place = torch.full((len(tokens),), len(kept))
    place[rows] = torch.arange(len(kept))
    outcomes = (place[drawn[:, 0]] * len(tokens) + drawn[:, 1]).clamp_max(len(joint))
    return _tested(outcomes, torch.cat([joint, torch.zeros(1, dtype=joint.dtype)]))


def _joint(
    first: torch.Tensor, second: torch.Tensor, rows: torch.Tensor, sampling: Sampling
) -> torch.Tensor:
    """Probability of each pair: (kept * tokens,)."""
    one = filters.log_probabilities(first, sampling)[rows].unsqueeze(1)
    return (one + filters.log_probabilities(second, sampling)).exp().flatten()


def _tested(outcomes: torch.Tensor, probabilities: torch.Tensor) -> Draws:
    counts = torch.bincount(outcomes, minlength=len(probabilities))
    return Draws(counts, probabilities, goodness_of_fit(counts.numpy(), probabilities.numpy()))


@torch.inference_mode()
def _drawn(
    model: Model,
    prompt: Prompt,
    table: torch.Tensor,
    sampling: Sampling,
    count: int,
    seed: int,
    length: int = 1,
) -> torch.Tensor:
    """New tokens of `count` samples of one prompt, (count, length).

    The table, (1 + tokens, vocabulary), holds the first step's logits, then those after each token.
    """
    inputs = torch.tensor([model.encode_prompt(prompt)], device=model.device)
    # The network's own type, which the logits came in: rounding them again changes none.
    stand_in = _stand_in(model.network, table.to(model.device, model.network.dtype), length)
    transformers.set_seed(seed)
    rows, most = [], max(1, LOGITS_AT_ONCE // table.shape[-1])
    while count > 0:
        part = min(count, most)
        output = stand_in.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            num_return_sequences=part,
            max_new_tokens=length,
            **sampling.arguments(),
        )
        rows.append(output[:, inputs.shape[1] :].cpu())
        count -= part
    return torch.cat(rows)


def _stand_in(network: Any, table: torch.Tensor, length: int) -> Any:
    """The same network with a forward pass that looks logits up, and no end before `length`."""
    stand_in = copy.copy(network)
    stand_in._forward_pre_hooks = OrderedDict()  # what it computes is no forward pass to count
    stand_in._forward_hooks = OrderedDict()
    # What is not asked for is the library's to choose, not the weights' own settings'.
    stand_in.generation_config = transformers.GenerationConfig(pad_token_id=0)
    calls = 0

    @functools.wraps(network.forward)
    def forward(input_ids: torch.Tensor, **_: Any) -> CausalLMOutputWithPast:
        nonlocal calls
        first = calls % length == 0
        calls += 1
        rows = torch.zeros_like(input_ids[:, -1]) if first else input_ids[:, -1] + 1
        return CausalLMOutputWithPast(logits=table[rows].unsqueeze(1))

    stand_in.forward = forward
    return stand_in
