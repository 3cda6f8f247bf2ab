"""The limit that memory bandwidth sets to decoding: every weight is read once a step."""

from __future__ import annotations

from probes.errors import UserError


def kv_cache_bytes(layers: int, heads: int, head_dim: int, element: int) -> int:
    """Return the bytes of the key-value cache at one position; `element` is bytes per number.

    >>> kv_cache_bytes(layers=32, heads=8, head_dim=128, element=2)  # Mistral-7B in fp16
    131072
    """
    return 2 * layers * heads * head_dim * element


def bytes_per_token(weights: int, batch: int, cache: int, positions: float) -> float:
    """Return the bytes that are read for each new token of a batch.

    The weights are read once for all sequences, each sequence's cache for it alone: `cache` bytes a
    position, at its mean length over the new tokens. Raises UserError for a batch below 1.

    >>> bytes_per_token(weights=1000, batch=10, cache=2, positions=50)
    200.0
    """
    if batch < 1:
        raise UserError(f"a batch has at least 1 sequence, not {batch}")
    return weights / batch + cache * positions


def max_tokens_per_second(bandwidth: float, read: float) -> float:
    """Return the limit, from bytes a second and bytes per token; a UserError if these are 0.

    >>> max_tokens_per_second(bandwidth=3e12, read=15e9)
    200.0
    """
    if read <= 0:
        raise UserError(f"the bytes read a token must be above 0, not {read}")
    return bandwidth / read
