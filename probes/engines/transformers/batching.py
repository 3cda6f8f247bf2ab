"""Rows of token ids as one batch: padding, unknown ids, what follows an end of sequence."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch

from probes.errors import UnknownIdError

KEEP_LAST = ("logits_to_keep", "num_logits_to_keep")
"""What transformers calls, by version, the number of last positions whose logits are computed."""


def check_ids(ids: Sequence[int], rows: int, kind: str = "id") -> list[int]:
    """Return the ids, or raise UnknownIdError: a CUDA device does not survive an id without a row.

    >>> check_ids([9, -1], rows=32000)
    Traceback (most recent call last):
    probes.errors.UnknownIdError: the id -1 has no row in the embedding, which has 32,000
    """
    for i in ids:
        if not 0 <= i < rows:
            raise UnknownIdError(
                f"the {kind} {i:,} has no row in the embedding, which has {rows:,}"
            )
    return list(ids)


def pad(
    rows: Sequence[Sequence[int]], filler: int, side: Literal["left", "right"]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad rows of ids to one width; return the ids and their attention mask, both (rows, width).

    >>> pad([[5, 6], [7]], filler=0, side="left")[0].tolist()
    [[5, 6], [0, 7]]
    """
    width = max(map(len, rows))

    def fill(row: Sequence[int], value: int) -> list[int]:
        padding = [value] * (width - len(row))
        return [*padding, *row] if side == "left" else [*row, *padding]

    mask = [fill([1] * len(row), 0) for row in rows]
    return torch.tensor([fill(row, filler) for row in rows]), torch.tensor(mask)


def cut_after_end(ids: list[int], eos_token_ids: Collection[int]) -> list[int]:
    """Cut a row after its first end-of-sequence token: what follows is padding.

    >>> cut_after_end([4, 2, 2], [2])
    [4, 2]
    """
    for position, token in enumerate(ids):
        if token in eos_token_ids:
            return ids[: position + 1]
    return ids


def keep_last_logits(network: Any, count: int) -> dict[str, int]:
    """Return the argument of a forward pass that leaves out logits before the last `count`.

    Empty where the network has none: it then returns them all.
    """
    accepted = inspect.signature(network.forward).parameters
    return {name: count for name in KEEP_LAST if name in accepted}
