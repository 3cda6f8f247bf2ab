"""Logits of a network that is no target: one that was saved and loaded again, or changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from probes.engines.base import Generation
from probes.engines.transformers.engine import TransformersEngine
from probes.errors import UndecidableError
from probes.measure.rounding_noise import as_texts, logits_along, simulate_noise
from probes.stats.rounding import largest_distance_change

TOKENS = 8
"""Tokens of the text whose logits are compared."""


@dataclass(frozen=True)
class BareNetwork:
    """A network, and where it takes its input."""

    network: Any
    device: torch.device

    def logits(self, text: list[Generation]) -> tuple[torch.Tensor | None, str]:
        """Return the logits along a text; None, and why, where it cannot compute them here."""
        try:
            return logits_along(self, text)[0], ""
        except UndecidableError as error:
            return None, str(error)

    def explain(self, text: list[Generation]) -> float:
        """Return the largest change of the distance of two logits that rounding explains."""
        return simulate_noise(self, text).tolerance


def choose_text(model: TransformersEngine) -> list[Generation]:
    """Return a text of the first ids, which every vocabulary has."""
    return as_texts([[place % model.vocab_size for place in range(1, TOKENS + 1)]])


def measure_change(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest change of the distance of a likely logit to the largest.

    >>> measure_change(torch.tensor([[3.0, 2.0]]), torch.tensor([[3.0, 2.5]]))
    0.5
    """
    return 0.0 if torch.equal(one, other) else largest_distance_change(one, other)
