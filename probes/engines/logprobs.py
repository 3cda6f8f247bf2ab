"""The most likely tokens of logits, as an endpoint would list them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from probes.engines.base import Generation, TopLogprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


def list_top_logprobs(logits: torch.Tensor, chosen: Sequence[int], count: int) -> list[TopLogprobs]:
    """List the `count` most likely tokens at each step of a text; logits are (steps, vocabulary).

    >>> import torch
    >>> [step] = list_top_logprobs(torch.tensor([[0.5, 0.25, 0.25]]).log(), [1], 1)
    >>> step.ids, [round(each, 4) for each in (*step.logprobs, step.chosen)]
    ([0], [-0.6931, -1.3863])
    """
    logprobs = logits[: len(chosen)].double().log_softmax(dim=-1)
    values, ids = logprobs.topk(min(count, logprobs.shape[-1]), dim=-1)
    return [
        TopLogprobs(step_ids, step_values, float(row[token]))
        for step_ids, step_values, row, token in zip(
            ids.tolist(), values.tolist(), logprobs, chosen, strict=True
        )
    ]


def add_top_logprobs(generation: Generation, count: int | None) -> Generation:
    """List the most likely tokens at each step of a generation that has logits; none if None."""
    if count is None or generation.logits is None:
        return generation
    pairs = zip(generation.logits, generation.ids, strict=True)
    return replace(
        generation, top_logprobs=[list_top_logprobs(logits, ids, count) for logits, ids in pairs]
    )
