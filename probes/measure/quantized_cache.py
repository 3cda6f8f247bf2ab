"""A model whose key-value cache is quantized, to be compared with itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probes.engines.transformers.engine import TransformersEngine
    from probes.schema.record import TargetFacts

CHUNK = 32
"""Tokens computed together after the first half of a text: they see each other unquantized."""

BACKENDS = {"hqq": {"axis_key": 1, "axis_value": 1}, "quanto": {"axis_key": 0, "axis_value": 0}}
"""transformers' names, and the axes that each can quantize along."""


class WithQuantizedCache:
    """A model that reads the second half of a text through a quantized cache.

    The first half is computed as it is, and kept in the cache as generation would keep it: so many
    of the last tokens stay unquantized as transformers leaves by default, which are 128.
    """

    def __init__(self, model: TransformersEngine, backend: str, bits: int) -> None:
        """Take a model and one of `BACKENDS`, whose package must be installed."""
        self._model, self._backend, self._bits = model, backend, bits
        self.capabilities = frozenset({"logits"})

    def facts(self) -> TargetFacts:
        """State what the model is, as it is without the cache."""
        return self._model.facts()

    def logits_batch(self, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Return the logits after every position of each prompt: (positions, vocabulary)."""
        return [torch.cat([*self._compute(list(ids))]).float().cpu() for ids in prompts]

    @torch.inference_mode()
    def _compute(self, ids: list[int]) -> Iterator[torch.Tensor]:
        from transformers import QuantizedCache

        network = self._model.network
        cache: Any = QuantizedCache(
            self._backend, network.config, nbits=self._bits, **BACKENDS[self._backend]
        )
        half = len(ids) // 2
        starts = [0, *range(half, len(ids), CHUNK)]
        for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
            rows = torch.tensor([ids[start:end]], device=self._model.device)
            yield network(rows, past_key_values=cache, use_cache=True).logits[0]
