"""Reference definitions of temperature, top-k, top-p and min-p.

Pure functions on logits of any leading shape, (..., vocabulary), computed in float32 or better. A
dropped token gets the logit -inf. Each docstring says what happens to ties.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from probes.schema.sampling import LIBRARY_TOP_K, Sampling

TopLogits = tuple[torch.Tensor, torch.Tensor]
"""Logits, (rows, kept), and the tokens they belong to; -inf fills the shorter rows."""

TIES = 8  # logits tied with the k-th that are looked for at first; seldom there are more


def temperature(logits: torch.Tensor, value: float) -> torch.Tensor:
    """Divide logits by the temperature, above 0.

    >>> temperature(torch.tensor([1.0, 2.0]), 0.5)
    tensor([2., 4.])
    """
    return _at_least_float32(logits) / value


def top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Keep the k most likely tokens, and those tied with the k-th; a k of 0 keeps all.

    >>> top_k(torch.tensor([1.0, 3.0, 2.0, 2.0]), 2)
    tensor([-inf, 3., 2., 2.])
    """
    logits = _at_least_float32(logits)
    if not 0 < k < logits.shape[-1]:
        return logits
    kth = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < kth, -torch.inf)


def top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Keep the nucleus: the fewest most likely tokens whose probability reaches p, at least one.

    Of equally likely tokens the lower id comes first. The probability before each token is summed
    in float64, so that a sum equal to p is recognized unless it differs by about 1e-15 or more. A
    p of 1 keeps all tokens, however unlikely.

    >>> halves = torch.tensor([0.5, 0.25, 0.25]).log()
    >>> [int(count_kept(top_p(halves, p))) for p in (0.5, 0.51)]
    [1, 2]
    """
    logits = _at_least_float32(logits)
    if p >= 1:
        return logits
    kept = max(1, int(count_kept(logits).max()))
    if 4 * kept < logits.shape[-1]:  # what was dropped before takes no part
        places = logits.topk(kept, dim=-1).indices.sort(dim=-1).values
        few = top_p(logits.gather(-1, places), p)
        return torch.full_like(logits, -torch.inf).scatter(-1, places, few)
    order = logits.argsort(dim=-1, descending=True, stable=True)
    mass = logits.double().softmax(dim=-1).gather(-1, order)
    before = mass.cumsum(dim=-1) - mass
    drop_in_order = before >= p
    drop_in_order[..., 0] = False
    drop = torch.empty_like(drop_in_order).scatter_(-1, order, drop_in_order)
    return logits.masked_fill(drop, -torch.inf)


def min_p(logits: torch.Tensor, share: float) -> torch.Tensor:
    """Keep the tokens at least `share` times as likely as the most likely one.

    A share of 0 keeps all, 1 keeps the most likely token and its ties.

    >>> min_p(torch.tensor([0.6, 0.3, 0.1]).log(), 0.4).exp()
    tensor([0.6000, 0.3000, 0.0000])
    """
    logits = _at_least_float32(logits)
    probabilities = logits.softmax(dim=-1)
    least = share * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(probabilities < least, -torch.inf)


def apply_filters(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Filter logits in transformers' order: temperature, top-k, top-p, min-p.

    A setting that is None has the library's default: top_k is 50, the others drop nothing.

    >>> from probes import Sampling
    >>> equal = torch.zeros(100)
    >>> int(apply_filters(equal, Sampling(top_p=0.5)).isfinite().sum())  # all tie with the 50th
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
    """Return the log-probabilities of the next token: (..., vocabulary), float64.

    Without settings they are the model's own: nothing is filtered.

    >>> log_probabilities(torch.zeros(4)).exp()
    tensor([0.2500, 0.2500, 0.2500, 0.2500], dtype=torch.float64)
    """
    if sampling is not None:
        logits = apply_filters(logits, sampling)
    return logits.double().log_softmax(dim=-1)


def largest_top_k(settings: Iterable[Sampling]) -> int:
    """Return the k of top-k that suffices for several settings; 0 is all tokens.

    >>> largest_top_k([Sampling(), Sampling(top_k=5)])
    50
    """
    each = [LIBRARY_TOP_K if s.top_k is None else s.top_k for s in settings]
    return 0 if 0 in each else max(each)


def top_logits(logits: torch.Tensor, k: int) -> TopLogits:
    """Return the k largest logits of each row and those tied with the k-th; 0 is all.

    >>> top_logits(torch.tensor([[1.0, 3.0, 2.0, 2.0]]), 2)[1].shape
    torch.Size([1, 3])
    """
    size = logits.shape[-1]
    k = min(k, size) or size
    found = logits.topk(min(k + TIES, size), dim=-1)
    kth = found.values[:, k - 1 : k]
    if found.values.shape[-1] < size and bool((found.values[:, -1:] == kth).any()):
        found = logits.topk(int((logits >= kth).count_nonzero(dim=-1).max()), dim=-1)
    most = int((found.values >= kth).count_nonzero(dim=-1).max())
    values, tokens = found.values[:, :most], found.indices[:, :most]
    return values.masked_fill(values < kth, -torch.inf), tokens


def entropy(log_probs: torch.Tensor) -> torch.Tensor:
    """Return the Shannon entropy in nats of each distribution: (...).

    >>> entropy(torch.tensor([0.5, 0.5, 0.0]).log())
    tensor(0.6931)
    """
    probabilities = log_probs.exp()
    return -(probabilities * log_probs.nan_to_num(neginf=0.0)).sum(dim=-1)


def count_kept(logits: torch.Tensor) -> torch.Tensor:
    """Count the tokens that a filter kept: (...), int64.

    >>> count_kept(torch.tensor([0.0, -torch.inf]))
    tensor(1)
    """
    return logits.isfinite().sum(dim=-1)


def is_uniform(logits: torch.Tensor) -> bool:
    """Return whether all tokens of a (vocabulary,) are equally likely; those at -inf are ignored.

    >>> is_uniform(torch.zeros(4)), is_uniform(torch.tensor([0.0, 1.0]))
    (True, False)
    """
    finite = logits[logits.isfinite()]
    return bool((finite == finite[:1]).all())


def _at_least_float32(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
