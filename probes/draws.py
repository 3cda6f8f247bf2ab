"""Draws from `generate`, thousands at a time, and how well they fit the computed distribution.

On a CPU, drawing from 32000 tokens is slow, and nothing in the law of drawing depends on their
number. So draws are made from a narrowed copy of the network, whose vocabulary is cut to the
tokens that matter after a prompt: the logits of those are the same, and everything `generate` does
with them is too. A smaller number of draws is made from the whole vocabulary besides.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers

from probes import filters
from probes.goodness import Fit, goodness_of_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.model import Model, Prompt
    from probes.sampling import Sampling

ROWS_AT_ONCE = 5_000


@dataclass(frozen=True)
class Narrow:
    """A network cut down to a part of the vocabulary.

    Attributes:
        network: the copy.
        prompt_ids: the prompt in its ids.
        vocabulary: the ids of the whole model that its ids stand for.
    """

    network: Any
    prompt_ids: list[int]
    vocabulary: list[int]


def narrowed(model: Model, prompt: Prompt, size: int = 512) -> Narrow:
    """A copy of the network that knows only a prompt's tokens and the likeliest after it.

    >>> from probes import load
    >>> narrow = narrowed(load("embedded"), "The capital of Japan is", size=64)
    >>> len(narrow.vocabulary), narrow.network.config.vocab_size
    (64, 64)
    """
    ids = model.prompt_ids(prompt)
    likely = model.logits(ids)[-1].topk(min(size, len(model.embedding()))).indices.tolist()
    vocabulary = sorted(list(dict.fromkeys([*ids, *likely]))[:size])
    rows = torch.tensor(vocabulary, device=model.device)
    network = copy.deepcopy(model.network)
    embedding = torch.nn.Embedding(len(rows), model.hidden_size, device=model.device)
    embedding.weight.data = model.embedding()[rows].clone()
    whole_head = network.get_output_embeddings()
    head = torch.nn.Linear(
        model.hidden_size, len(rows), bias=whole_head.bias is not None, device=model.device
    )
    head.weight.data = whole_head.weight.data[rows].clone()
    if whole_head.bias is not None:
        head.bias.data = whole_head.bias.data[rows].clone()
    network.set_input_embeddings(embedding)
    network.set_output_embeddings(head)
    network.config.vocab_size = len(rows)
    network.generation_config.eos_token_id = None
    network.generation_config.pad_token_id = 0
    return Narrow(network, [vocabulary.index(i) for i in ids], vocabulary)


@dataclass(frozen=True)
class Draws:
    """First-token draws and what they were drawn from.

    Attributes:
        counts: (vocabulary,), int64, how often each token was drawn.
        probabilities: (vocabulary,), float64, from the raw logits and the settings.
        fit: the G-test of the two.
    """

    counts: torch.Tensor
    probabilities: torch.Tensor
    fit: Fit


@torch.inference_mode()
def first_tokens(
    network: Any, prompt_ids: Sequence[int], sampling: Sampling, count: int, seed: int
) -> Draws:
    """Draw the first token many times through `generate`, and test the draws.

    Args:
        network: a network as transformers made it, or a narrowed one.
        prompt_ids: the prompt in its ids.
        sampling: how to draw.
        count: how many draws.
        seed: of the draws.
    """
    inputs = torch.tensor([list(prompt_ids)], device=network.device)
    logits = network(input_ids=inputs).logits[0, -1].float().cpu()
    probabilities = filters.log_probabilities(logits, sampling).exp()
    drawn = _drawn(network, inputs, sampling, count, seed, length=1)[:, 0]
    counts = torch.bincount(drawn, minlength=len(probabilities))
    return Draws(counts, probabilities, goodness_of_fit(counts.numpy(), probabilities.numpy()))


@torch.inference_mode()
def token_pairs(
    network: Any, prompt_ids: Sequence[int], sampling: Sampling, count: int, seed: int
) -> Draws:
    """Draw the first two tokens together, and test the draws against their joint distribution.

    The settings must keep few tokens, as every pair of them is an outcome.

    Returns:
        Counts and probabilities over the pairs of kept tokens and, last, all other pairs.
    """
    inputs = torch.tensor([list(prompt_ids)], device=network.device)
    first = filters.log_probabilities(_last_logits(network, inputs), sampling)[0]
    kept = first.isfinite().nonzero().flatten()
    prefixes = torch.cat([inputs.expand(len(kept), -1), kept.unsqueeze(1).to(inputs.device)], dim=1)
    second = filters.log_probabilities(_last_logits(network, prefixes), sampling)
    joint = (first[kept].unsqueeze(1) + second).exp().flatten()
    drawn = _drawn(network, inputs, sampling, count, seed, length=2)
    row = torch.full((len(first),), len(kept))
    row[kept] = torch.arange(len(kept))
    outcome = (row[drawn[:, 0]] * len(first) + drawn[:, 1]).clamp_max(len(joint))
    counts = torch.bincount(outcome, minlength=len(joint) + 1)
    probabilities = torch.cat([joint, torch.zeros(1, dtype=joint.dtype)])
    return Draws(counts, probabilities, goodness_of_fit(counts.numpy(), probabilities.numpy()))


def _last_logits(network: Any, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = network(input_ids=ids).logits[:, -1].float().cpu()
    return logits


def _drawn(
    network: Any, inputs: torch.Tensor, sampling: Sampling, count: int, seed: int, length: int
) -> torch.Tensor:
    """New ids of `count` samples of one prompt, (count, length)."""
    transformers.set_seed(seed)
    rows = []
    while count > 0:
        part = min(count, ROWS_AT_ONCE)
        output = network.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            num_return_sequences=part,
            max_new_tokens=length,
            min_new_tokens=length,
            **sampling.arguments(),
        )
        rows.append(output[:, inputs.shape[1] :].cpu())
        count -= part
    return torch.cat(rows)
