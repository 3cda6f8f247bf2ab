"""The filters of sampling, from their definitions: temperature, top-k, top-p, min-p.

Pure functions on logits of any leading shape, (..., vocabulary). Everything is computed in float32
or better; a dropped token gets the logit -inf. What each does with ties is part of its definition
and stated in its docstring.
"""

from __future__ import annotations

import torch

from probes.schema.sampling import LIBRARY_TOP_K, Sampling


def temperature(logits: torch.Tensor, value: float) -> torch.Tensor:
    """Logits divided by the temperature.

    Args:
        logits: (..., vocabulary), any floating dtype.
        value: above 0; below 1 sharpens, above 1 flattens.

    Returns:
        (..., vocabulary), float32 or the wider dtype of the input.

    >>> temperature(torch.tensor([1.0, 2.0]), 0.5)
    tensor([2., 4.])
    """
    return _at_least_float32(logits) / value


def top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """The k most likely tokens, and those tied with the k-th.

    Args:
        logits: (..., vocabulary).
        k: how many to keep; 0, or the whole vocabulary or more, keeps all.

    >>> top_k(torch.tensor([1.0, 3.0, 2.0, 2.0]), 2)
    tensor([-inf, 3., 2., 2.])
    """
    logits = _at_least_float32(logits)
    if not 0 < k < logits.shape[-1]:
        return logits
    kth = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < kth, -torch.inf)


def top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """The nucleus: the smallest set of most likely tokens whose mass reaches p, never empty.

    Tokens are taken from the most likely on, of equally likely ones the lower id first, until
    their mass is p or more. The mass before each token is summed in float64, so a sum that meets p
    exactly is seen as such unless it differs by less than about 1e-15.

    Args:
        logits: (..., vocabulary).
        p: mass to reach, above 0; 1 keeps all tokens of any likelihood.

    >>> halves = torch.tensor([0.5, 0.25, 0.25]).log()
    >>> top_p(halves, 0.5).exp()
    tensor([0.5000, 0.0000, 0.0000])
    >>> top_p(halves, 0.51).exp()
    tensor([0.5000, 0.2500, 0.0000])
    """
    logits = _at_least_float32(logits)
    if p >= 1:
        return logits
    order = logits.argsort(dim=-1, descending=True, stable=True)
    mass = logits.double().softmax(dim=-1).gather(-1, order)
    before = mass.cumsum(dim=-1) - mass
    drop_in_order = before >= p
    drop_in_order[..., 0] = False
    drop = torch.empty_like(drop_in_order).scatter_(-1, order, drop_in_order)
    return logits.masked_fill(drop, -torch.inf)


def min_p(logits: torch.Tensor, share: float) -> torch.Tensor:
    """The tokens at least `share` times as likely as the most likely one.

    Args:
        logits: (..., vocabulary).
        share: between 0, which keeps all, and 1, which keeps the most likely and its ties.

    >>> min_p(torch.tensor([0.6, 0.3, 0.1]).log(), 0.4).exp()
    tensor([0.6000, 0.3000, 0.0000])
    """
    logits = _at_least_float32(logits)
    probabilities = logits.softmax(dim=-1)
    least = share * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(probabilities < least, -torch.inf)


def filtered(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Logits as transformers filters them: temperature, then top-k, then top-p, then min-p.

    A setting that was left to the library is what the library takes: top_k is 50, the others
    drop nothing.

    Args:
        logits: (..., vocabulary).
        sampling: the settings.

    Returns:
        (..., vocabulary), float32 or wider, -inf where a token is dropped.

    >>> from probes import Sampling
    >>> flat = torch.zeros(100)
    >>> int(filtered(flat, Sampling(top_p=0.5)).isfinite().sum())  # all tie with the 50th
    50
    """
    logits = temperature(logits, sampling.temperature)
    logits = top_k(logits, LIBRARY_TOP_K if sampling.top_k is None else sampling.top_k)
    if sampling.top_p is not None:
        logits = top_p(logits, sampling.top_p)
    if sampling.min_p is not None:
        logits = min_p(logits, sampling.min_p)
    return logits


def log_probabilities(logits: torch.Tensor, sampling: Sampling | None = None) -> torch.Tensor:
    """The distribution the next token is drawn from, in logarithms.

    Args:
        logits: (..., vocabulary).
        sampling: the settings; None is the model's own distribution, nothing filtered.

    Returns:
        (..., vocabulary), float64, natural logarithms that sum to 1 as probabilities.

    >>> log_probabilities(torch.zeros(4)).exp()
    tensor([0.2500, 0.2500, 0.2500, 0.2500], dtype=torch.float64)
    """
    if sampling is not None:
        logits = filtered(logits, sampling)
    return logits.double().log_softmax(dim=-1)


def entropy(log_probs: torch.Tensor) -> torch.Tensor:
    """Shannon entropy in nats.

    Args:
        log_probs: (..., vocabulary), logarithms of a distribution; -inf is a probability of 0.

    Returns:
        (...), the same dtype.

    >>> entropy(torch.tensor([0.5, 0.5, 0.0]).log())
    tensor(0.6931)
    """
    probabilities = log_probs.exp()
    return -(probabilities * log_probs.nan_to_num(neginf=0.0)).sum(dim=-1)


def kept(logits: torch.Tensor) -> torch.Tensor:
    """How many tokens a filter left.

    Returns:
        (...), int64.

    >>> kept(torch.tensor([0.0, -torch.inf]))
    tensor(1)
    """
    return logits.isfinite().sum(dim=-1)


def flat(logits: torch.Tensor) -> bool:
    """Whether all tokens are equally likely, which no temperature changes.

    Args:
        logits: (vocabulary,); tokens at -inf count for nothing.

    >>> flat(torch.zeros(4)), flat(torch.tensor([0.0, 1.0]))
    (True, False)
    """
    finite = logits[logits.isfinite()]
    return bool((finite == finite[:1]).all())


def _at_least_float32(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
