"""Draw thousands of tokens from `generate`, and test them against the computed distribution.

The network runs once. `generate`, with its own defaults and random numbers, then runs on a
stand-in whose forward pass looks those logits up. Most draws are made from the most likely tokens
alone: drawing from 32,000 is slow on a CPU, and the law of drawing does not depend on their number.
"""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from transformers.modeling_outputs import CausalLMOutputWithPast

from probes.stats import sampling_reference as reference
from probes.stats.goodness_of_fit import LOOKS, Fit, can_stop, goodness_of_fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.engines.base import Prompt
    from probes.engines.transformers.engine import TransformersEngine
    from probes.schema.sampling import Sampling

LOGITS_AT_ONCE = {"cpu": 2**21, "cuda": 2**23}
"""Most logits, rows times tokens, of one call: larger tensors leave a CPU's cache."""


def fit_first_tokens(
    model: TransformersEngine,
    prompt: Prompt,
    sampling: Sampling,
    *,
    count: int,
    seed: int,
    most_likely: int = 0,
) -> Fit:
    """Draw the first token `count` times through `generate`, and test the draws.

    Only so many of the `most_likely` tokens are drawn from; 0 is the whole vocabulary.

    >>> from probes import Sampling, load
    >>> top_3 = Sampling(top_k=3)
    >>> fit = fit_first_tokens(load("embedded"), "Once", top_3, count=9, seed=0, most_likely=64)
    >>> fit.draws, fit.outside, fit.good
    (9, 0, True)
    """
    logits = model.logits(prompt)[-1]
    if most_likely:
        logits = logits.topk(min(most_likely, len(logits))).values
    probabilities = reference.log_probabilities(logits, sampling).exp()
    # Of tokens that tie at the edge of the nucleus the library may keep others: they are pooled.
    values, outcome = np.unique(logits.numpy(), return_inverse=True)
    pooled = torch.from_numpy(outcome)
    sums = torch.zeros(len(values), dtype=probabilities.dtype).index_add(0, pooled, probabilities)
    drawn = _draw(model, prompt, logits.unsqueeze(0), sampling, count, seed)
    return _test((pooled[rows[:, 0]] for rows in drawn), sums, count)


def fit_token_pairs(
    model: TransformersEngine, prompt: Prompt, sampling: Sampling, *, count: int, seed: int
) -> Fit:
    """Draw the first two tokens `count` times, and test the draws against their joint distribution.

    The settings must keep few tokens: every pair of them is an outcome; other pairs are the last.

    >>> from probes import Sampling, load
    >>> fit_token_pairs(load("embedded"), "Once", Sampling(top_k=2), count=100, seed=0).outside
    0
    """
    first = model.logits(prompt)[-1]
    kept = reference.apply_filters(first, sampling).isfinite().nonzero().flatten()
    second = model.logits_after(prompt, kept.unsqueeze(1).tolist())[:, -1]
    # A vocabulary of the kept tokens and all those that may follow them.
    possible = reference.apply_filters(second, sampling).isfinite().any(dim=0)
    possible[kept] = True
    tokens = possible.nonzero().flatten()
    first, second = first[tokens], second[:, tokens]
    rows = torch.searchsorted(tokens, kept)
    table = first.repeat(len(tokens) + 1, 1)
    table[rows + 1] = second
    one = reference.log_probabilities(first, sampling)[rows].unsqueeze(1)
    joint = (one + reference.log_probabilities(second, sampling)).exp().flatten()
    place = torch.full((len(tokens),), len(kept))
    place[rows] = torch.arange(len(kept))
    drawn = _draw(model, prompt, table, sampling, count, seed, length=2)
    outcomes = (
        (place[each[:, 0]] * len(tokens) + each[:, 1]).clamp_max(len(joint)) for each in drawn
    )
    return _test(outcomes, torch.cat([joint, torch.zeros(1, dtype=joint.dtype)]), count)


def _test(outcomes: Iterator[torch.Tensor], probabilities: torch.Tensor, count: int) -> Fit:
    """Test so many draws, which come in parts, or fewer if nothing speaks against them."""
    law = probabilities.numpy()
    counts = np.zeros(len(law), dtype=np.int64)
    looks = _place_looks(count)
    for part in outcomes:
        counts += torch.bincount(part, minlength=len(law)).numpy()
        if int(counts.sum()) in looks and can_stop(counts, law, count):
            break
    return goodness_of_fit(counts, law, planned=count)


def _place_looks(count: int) -> list[int]:
    return [int(share * count) for share in LOOKS]


@torch.inference_mode()
def _draw(
    model: TransformersEngine,
    prompt: Prompt,
    table: torch.Tensor,  # (1 + tokens, vocabulary), of the first step, then after each token
    sampling: Sampling,
    count: int,
    seed: int,
    length: int = 1,
) -> Iterator[torch.Tensor]:
    """Yield the new tokens of `count` samples of one prompt, in parts: (rows, length).

    A part ends at each look at the draws.
    """
    # The table says what follows: the rest of the prompt would only be copied for each row.
    inputs = torch.tensor([model.encode_prompt(prompt)[-1:]], device=model.device)
    # In the network's own dtype, which the logits were computed in, rounding changes none.
    stand_in = _make_stand_in(model.network, table.to(model.device, model.network.dtype), length)
    transformers.set_seed(seed)
    at_once = LOGITS_AT_ONCE.get(model.device.type, LOGITS_AT_ONCE["cuda"])
    most = max(1, at_once // table.shape[-1])
    done = 0
    while done < count:
        until = next((look for look in _place_looks(count) if look > done), count)
        part = min(most, until - done)
        done += part
        output = stand_in.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            num_return_sequences=part,
            max_new_tokens=length,
            **sampling.arguments(),
        )
        yield output[:, inputs.shape[1] :].cpu()


def _make_stand_in(network: Any, table: torch.Tensor, length: int) -> Any:
    """Copy the network with a forward pass that looks logits up, and no end before `length`."""
    stand_in = copy.copy(network)
    stand_in._forward_pre_hooks = OrderedDict()  # its forward passes are not counted
    stand_in._forward_hooks = OrderedDict()
    # The library's defaults for what is not set, not the weights' own settings.
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
