"""Next-token logits of texts that branch: each is computed from the cache of the text before it."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from probes.engines.session_cache import once_per_session
from probes.engines.transformers import batching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.transformers.loaded import LoadedTarget

PLAIN_LAYERS = {"DynamicLayer", "DynamicSlidingWindowLayer"}
"""Layers of a cache that hold keys and values alone: states of other kinds are not chosen from."""


KEPT_BYTES = 2**28
"""The most that beginnings take which are kept for later measurements."""


@dataclass(frozen=True)
class Computed:
    """Texts that were computed."""

    places: dict[tuple[int, ...], int]  # the row of each
    mask: torch.Tensor  # (rows, positions)
    logits: torch.Tensor  # after each, (rows, vocabulary), float32, on the device
    cache: Any  # None where its rows cannot be chosen

    def find(self, texts: Sequence[tuple[int, ...]]) -> list[int] | None:
        """Return the rows of texts, or None if one was not computed."""
        rows = [self.places.get(text) for text in texts]
        return None if None in rows else [row for row in rows if row is not None]

    def count_bytes(self) -> int:
        """Return what logits and cache take."""
        kept: list[Any] = [self.logits]
        if hasattr(self.cache, "layers"):
            kept += [part for layer in self.cache.layers for part in (layer.keys, layer.values)]
        elif self.cache is not None:  # up to transformers 4.53
            kept += [*self.cache.key_cache, *self.cache.value_cache]
        # A layer that shares another's states may hold none.
        return sum(part.nbytes for part in kept if isinstance(part, torch.Tensor))


@dataclass
class Begun:
    """The texts that any branches of a model last computed from the beginning, if they are few."""

    computed: Computed | None = None


@once_per_session
def share_begun(_: LoadedTarget) -> Begun:
    """Return what branches of a model begin with: several measurements ask the same."""
    return Begun()


class Branches:
    """Texts that grow by one token a call.

    Texts that each continue one of the call before, or of those last computed from the beginning,
    take one position each; others are computed from the beginning. Those are shared by all branches
    of a model where they take at most `KEPT_BYTES`, until others begin.
    """

    def __init__(self, model: LoadedTarget, filler: int) -> None:
        """Take a model, and the id of a token that pads."""
        self._model, self._filler = model, filler
        self._shared = share_begun(model)
        self._begun = self._shared.computed
        self._grown: Computed | None = None

    @torch.inference_mode()
    def next_logits(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the logits after each text of ids: (texts, vocabulary), float32, on the device."""
        rows = [tuple(text) for text in texts]
        begun, grown = self._begun, self._grown
        if begun is not None and (known := begun.find(rows)) is not None:
            return begun.logits[known]
        for before in (grown, begun):
            if before is None or before.cache is None:
                continue
            parents = before.find([row[:-1] for row in rows])
            if parents is not None:
                self._grown = self._grow(before, rows, parents)
                return self._grown.logits
        self._shared.computed = self._begun = self._grown = None
        ids, mask = batching.pad(rows, self._filler, side="left")
        made = self._compute(rows, ids, mask, None)
        if made.cache is None and not bool(mask.all()):
            return self._compute_by_length(rows)  # it may not be able to mask padding
        self._begun = made
        self._shared.computed = made if made.count_bytes() <= KEPT_BYTES else None
        return made.logits

    def _compute_by_length(self, rows: Sequence[tuple[int, ...]]) -> torch.Tensor:
        found: dict[int, torch.Tensor] = {}
        for length in {len(row) for row in rows}:
            places = [place for place, row in enumerate(rows) if len(row) == length]
            ids = torch.tensor([rows[place] for place in places])
            made = self._compute([rows[place] for place in places], ids, torch.ones_like(ids), None)
            found.update(zip(places, made.logits, strict=True))
        return torch.stack([found[place] for place in range(len(rows))])

    def _grow(
        self, before: Computed, rows: Sequence[tuple[int, ...]], parents: list[int]
    ) -> Computed:
        cache = copy.deepcopy(before.cache) if before is self._begun else before.cache
        if parents != [*range(len(before.mask))]:
            cache.batch_select_indices(torch.tensor(parents, device=self._model.device))
        mask = torch.nn.functional.pad(before.mask[parents], (0, 1), value=1)
        return self._compute(rows, torch.tensor([[row[-1]] for row in rows]), mask, cache)

    def _compute(
        self, rows: Sequence[tuple[int, ...]], ids: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> Computed:
        network, device = self._model.network, self._model.device
        accepted = inspect.signature(network.forward).parameters
        settings: dict[str, Any] = {**batching.keep_last_logits(network, 1)}
        if "position_ids" in accepted:
            positions = (mask.cumsum(dim=-1) - 1).clamp_min(0)
            settings["position_ids"] = positions[:, -ids.shape[1] :].to(device)
        out = network(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            past_key_values=cache,
            use_cache=True,
            **settings,
        )
        places = {row: place for place, row in enumerate(rows)}
        cache = find_plain_cache(getattr(out, "past_key_values", None))
        return Computed(places, mask, out.logits[:, -1].float(), cache)


def copy_cache_of_prompts(model: LoadedTarget, prompts: Sequence[Sequence[int]]) -> Any:
    """Return a cache of all but the last tokens of prompts that branches last began with, or None.

    `generate` continues it: the last token's logits it computes itself.
    """
    begun = share_begun(model).computed
    if begun is None or [*begun.places] != [*map(tuple, prompts)]:
        return None
    cache = copy.deepcopy(begun.cache)
    try:
        cache.crop(-1)  # newer versions take no length, only a number of tokens to remove
    except (AttributeError, RuntimeError, ValueError):  # it is None, or past an attention window
        return None
    return cache


def find_plain_cache(cache: Any) -> Any:
    """Return a cache of keys and values alone, whose rows can be chosen; else None."""
    if isinstance(cache, tuple):  # Mistral's up to transformers 4.47
        kind: Any = DynamicCache
        cache = kind.from_legacy_cache(cache)
    if type(cache).__name__ != "DynamicCache":
        return None
    layers = {type(layer).__name__ for layer in getattr(cache, "layers", ())}
    return cache if layers <= PLAIN_LAYERS else None
