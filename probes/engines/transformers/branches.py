"""Next-token logits of texts that branch: each is computed from the cache of the text before it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from probes.engines.transformers import batching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.transformers.loaded import LoadedTarget

KEEP_LAST = ("logits_to_keep", "num_logits_to_keep")
"""What transformers calls, by version, the number of last positions whose logits are computed."""


class Branches:
    """Texts that grow by one token a call.

    A call whose texts each continue one of the call before computes one position a text; any other
    call computes its texts from their beginning.
    """

    def __init__(self, model: LoadedTarget, filler: int) -> None:
        """Take a model, and the id of a token that pads."""
        self._model, self._filler = model, filler
        self._places: dict[tuple[int, ...], int] = {}
        self._cache: Any = None
        self._mask = torch.empty(0, 0, dtype=torch.long)

    @torch.inference_mode()
    def next_logits(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the logits after each text of ids: (texts, vocabulary), float32, on the device."""
        rows = [tuple(text) for text in texts]
        parents = [self._places.get(row[:-1], -1) for row in rows]
        if self._cache is not None and min(parents) >= 0:
            ids, mask = self._grow(rows, torch.tensor(parents))
        else:
            self._cache = None
            ids, mask = batching.pad(rows, self._filler, side="left")
        self._mask = mask
        self._places = {row: place for place, row in enumerate(rows)}
        return self._compute(ids, mask)

    def _grow(
        self, rows: Sequence[Sequence[int]], parents: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if parents.tolist() != [*range(len(self._mask))]:
            self._cache.batch_select_indices(parents.to(self._model.device))
        mask = torch.nn.functional.pad(self._mask[parents], (0, 1), value=1)
        return torch.tensor([[row[-1]] for row in rows]), mask

    def _compute(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        network, device = self._model.network, self._model.device
        accepted = inspect.signature(network.forward).parameters
        settings: dict[str, Any] = {name: 1 for name in KEEP_LAST if name in accepted}
        if "position_ids" in accepted:
            positions = (mask.cumsum(dim=-1) - 1).clamp_min(0)
            settings["position_ids"] = positions[:, -ids.shape[1] :].to(device)
        out = network(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            past_key_values=self._cache,
            use_cache=True,
            **settings,
        )
        self._cache = _selectable(getattr(out, "past_key_values", None))
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits


def _selectable(cache: Any) -> Any:
    """Return a cache whose rows can be chosen, or None."""
    if isinstance(cache, tuple):  # Mistral's up to transformers 4.47
        kind: Any = DynamicCache
        cache = kind.from_legacy_cache(cache)
    layers = getattr(cache, "layers", None) or [cache]
    return cache if all(hasattr(layer, "batch_select_indices") for layer in layers) else None
