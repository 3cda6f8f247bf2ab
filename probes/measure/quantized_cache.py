"""A model whose key-value cache is quantized, to be compared with itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from probes.errors import UserError

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
        network = self._model.network
        cache = make_cache(self._model, self._backend, self._bits)
        half = len(ids) // 2
        starts = [0, *range(half, len(ids), CHUNK)]
        for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
            rows = torch.tensor([ids[start:end]], device=self._model.device)
            yield network(rows, past_key_values=cache, use_cache=True).logits[0]


def make_cache(model: TransformersEngine, backend: str, bits: int) -> Any:
    """Return an empty quantized cache for a model.

    Raise UserError where the backend is missing or has no so many bits, or where some layers of the
    model attend to a part of the text alone.
    """
    try:
        from transformers import QuantizedCache

        return QuantizedCache(backend, model.network.config, nbits=bits, **BACKENDS[backend])
    except (ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"no cache of {bits} bits by {backend}: {reason}") from None
