"""Faults of the vocabulary and the embedding matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from unittest import mock

from tests.faults.catalogue.base import Patch, Wrapper, fault, result, wrapped

if TYPE_CHECKING:
    from probes import Model


def embedding_layer(model: Model) -> Any:
    return model.network.get_input_embeddings()


@fault("embedding rows added up to a multiple of 64, configuration unchanged", "embedding-shape")
def embedding_padded(model: Model) -> Patch:
    import torch

    layer = embedding_layer(model)
    rows = torch.nn.functional.pad(layer.weight.detach(), (0, 0, 0, 64))
    return mock.patch.dict(layer._parameters, weight=torch.nn.Parameter(rows))


@fault("ids shifted by one at the lookup", "embedding-lookup")
def embedding_lookup_off_by_one(model: Model) -> Patch:
    layer = embedding_layer(model)
    rows = len(layer.weight)
    return wrapped(layer, "forward", lambda original, ids: original((ids + 1) % rows))


@fault("rows multiplied by the square root of the hidden size, as in Gemma", "embedding-lookup")
def embedding_scaled(model: Model) -> Patch:
    layer = embedding_layer(model)
    return wrapped(layer, "forward", result(lambda rows: rows * math.sqrt(rows.shape[-1])))


@fault("one id returns the row of another: an added token replaced it", "embedding-lookup")
def one_embedding_row_repeated(model: Model) -> Patch:
    layer = embedding_layer(model)

    def lookup(original: Wrapper, ids: Any) -> Any:
        return original(ids.masked_fill(ids == 31_999, 31_998))

    return wrapped(layer, "forward", lookup)
