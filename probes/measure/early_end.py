"""End a batch of sampled texts as soon as what follows cannot change what is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import StoppingCriteria

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes.engines.base import LogitsEngine


class AllDecided(StoppingCriteria):
    """Ends all rows of a batch together, once each is decided or has ended."""

    def __init__(self, model: LogitsEngine, is_decided: Callable[[int, list[int]], bool]) -> None:
        """Take what decides a row by its number and its new token ids, until it is once true."""
        self._is_decided, self._ends = is_decided, {*model.eos_token_ids}
        self._start: int | None = None  # where new tokens begin
        self._open: list[int] = []

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: Any,  # noqa: ARG002 - the library passes them
        **_: Any,
    ) -> torch.Tensor:
        """Return whether to end, the same for each row of (rows, positions): (rows,), bool."""
        if self._start is None:
            self._start, self._open = input_ids.shape[1] - 1, [*range(len(input_ids))]
        rows = input_ids[:, self._start :].tolist()
        self._open = [
            row
            for row in self._open
            if rows[row][-1] not in self._ends and not self._is_decided(row, rows[row])
        ]
        return torch.full((len(rows),), not self._open, device=input_ids.device)
