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
from probes.stats.goodness_of_fit import Fit, fit_in_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

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
    draw = _prepare_draws(model, prompt, logits.unsqueeze(0), sampling, seed)
    return _test(lambda number: pooled[draw(number)[:, 0]], sums, count)


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
    draw = _prepare_draws(model, prompt, table, sampling, seed, length=2)

    def draw_pairs(number: int) -> torch.Tensor:
        one, two = draw(number).unbind(dim=1)
        return (place[one] * len(tokens) + two).clamp_max(len(joint))

    return _test(draw_pairs, torch.cat([joint, torch.zeros(1, dtype=joint.dtype)]), count)


def _test(draw: Callable[[int], torch.Tensor], law: torch.Tensor, count: int) -> Fit:
    """Test so many outcomes, or fewer if nothing speaks against the law."""

    def count_outcomes(number: int) -> npt.NDArray[np.int64]:
        return torch.bincount(draw(number), minlength=len(law)).numpy()

    return fit_in_parts(count_outcomes, law.numpy(), count)


def _prepare_draws(
    model: TransformersEngine,
    prompt: Prompt,
    table: torch.Tensor,  # (1 + tokens, vocabulary), of the first step, then after each token
    sampling: Sampling,
    seed: int,
    length: int = 1,
) -> Callable[[int], torch.Tensor]:
    """Return a function that draws new tokens after one prompt: (samples, length)."""
    # The table says what follows: the rest of the prompt would only be copied for each row.
    inputs = torch.tensor([model.encode_prompt(prompt)[-1:]], device=model.device)
    # In the network's own dtype, which the logits were computed in, rounding changes none.
    stand_in = _make_stand_in(model.network, table.to(model.device, model.network.dtype), length)
    transformers.set_seed(seed)
    at_once = LOGITS_AT_ONCE.get(model.device.type, LOGITS_AT_ONCE["cuda"])
    most = max(1, at_once // table.shape[-1])

    @torch.inference_mode()
    def draw(count: int) -> torch.Tensor:
        parts = [
            stand_in.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                num_return_sequences=min(most, count - done),
                max_new_tokens=length,
                **sampling.arguments(),
            )
            for done in range(0, count, most)
        ]
        return torch.cat(parts)[:, inputs.shape[1] :].cpu()

    return draw


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
