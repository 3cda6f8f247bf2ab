"""The installed transformers' own filters, called as `generate` calls them."""

from __future__ import annotations

import torch
from transformers.generation import logits_process

from probes.schema.sampling import Sampling


def temperature(logits: torch.Tensor, value: float) -> torch.Tensor:
    """Divide logits by a temperature."""
    return _applied(logits_process.TemperatureLogitsWarper(float(value)), logits)


def top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Keep the k highest logits, for a k of at least 1."""
    return _applied(logits_process.TopKLogitsWarper(k), logits)


def top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Keep the nucleus: the fewest tokens whose probabilities reach p.

    >>> top_p(torch.tensor([[0.5, 0.3, 0.2]]).log(), 0.6).isfinite()
    tensor([[ True,  True, False]])
    """
    return _applied(logits_process.TopPLogitsWarper(float(p)), logits)


def min_p(logits: torch.Tensor, share: float) -> torch.Tensor:
    """Keep the tokens with at least this share of the highest probability."""
    return _applied(logits_process.MinPLogitsWarper(float(share)), logits)


def _applied(processor: logits_process.LogitsProcessor, logits: torch.Tensor) -> torch.Tensor:
    # The processors take the ids so far too; these look at the scores alone.
    filtered: torch.Tensor = processor(
        torch.zeros(len(logits), 0, dtype=torch.long), logits.clone()
    )
    return filtered


def apply(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Apply one filter or several in the library's order, without those that have no effect.

    >>> apply(torch.tensor([[1.0, 3.0, 2.0]]), Sampling(temperature=0.5, top_k=2))
    tensor([[-inf, 6., 4.]])
    """
    logits = temperature(logits, sampling.temperature)
    if sampling.top_k:
        logits = top_k(logits, sampling.top_k)
    if sampling.top_p is not None and sampling.top_p < 1:
        logits = top_p(logits, sampling.top_p)
    if sampling.min_p is not None:
        logits = min_p(logits, sampling.min_p)
    return logits
