"""The limit that memory bandwidth sets to decoding: every weight is read once a step."""

from __future__ import annotations

from probes.errors import UserError


def kv_cache_bytes(layers: int, heads: int, head_dim: int, element: int) -> int:
    """Return the bytes of the key-value cache at one position of one sequence.

    Args:
        layers: of the network.
        heads: of keys and values, in each layer.
        head_dim: numbers in a head.
        element: bytes of a number.

    >>> kv_cache_bytes(layers=32, heads=8, head_dim=128, element=2)  # Mistral-7B in fp16
    131072
    """
    return 2 * layers * heads * head_dim * element


def bytes_per_token(weights: int, batch: int, cache: int, positions: float) -> float:
    """Return the bytes that are read for each new token.

    The weights are read once for all sequences of a batch, each sequence's cache for it alone.

    Args:
        weights: bytes of the weights that a forward pass reads.
        batch: sequences computed together.
        cache: bytes of the cache at one position of one sequence.
        positions: positions in the cache, on average over the new tokens.

    Raises:
        UserError: the batch is below 1.

    >>> bytes_per_token(weights=1000, batch=10, cache=2, positions=50)
    200.0
    """
    if batch < 1:
        raise UserError(f"a batch has at least 1 sequence, not {batch}")
    return weights / batch + cache * positions


def max_tokens_per_second(bandwidth: float, read: float) -> float:
    """Return the tokens a second where only reading takes time.

    Args:
        bandwidth: bytes a second.
        read: bytes read a token.

    Raises:
        UserError: no bytes are read.

    >>> max_tokens_per_second(bandwidth=3e12, read=15e9)
    200.0
    """
    if read <= 0:
        raise UserError(f"the bytes read a token must be above 0, not {read}")
    return bandwidth / read
