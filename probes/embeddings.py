"""Probes of the embedding matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.model import Model


def network_without_weights(config: transformers.PretrainedConfig) -> Any:
    """The network a configuration describes, on the meta device: no weight, no memory."""
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def shape_without_weights(config: transformers.PretrainedConfig) -> tuple[int, int]:
    """Shape of the input embedding that a configuration describes, without any weights.

    Returns:
        (vocabulary, hidden size).

    >>> shape_without_weights(transformers.MistralConfig())
    (32000, 4096)
    """
    rows, columns = network_without_weights(config).get_input_embeddings().weight.shape
    return int(rows), int(columns)


def mistral_7b_shape() -> tuple[int, int]:
    """Shape of Mistral-7B-v0.1's input embedding, whose sizes are transformers' defaults.

    >>> mistral_7b_shape()
    (32000, 4096)
    """
    return shape_without_weights(transformers.MistralConfig())


@torch.inference_mode()
def looked_up(model: Model, ids: Sequence[int]) -> torch.Tensor:
    """What the embedding layer returns for token ids.

    Returns:
        (len(ids), hidden size), in the dtype of the weights.

    >>> from probes import load
    >>> model = load("embedded")
    >>> bool((looked_up(model, [415, 415])[0] == model.embedding([415])[0]).all())
    True
    """
    layer: Any = model.network.get_input_embeddings()
    rows: torch.Tensor = layer(torch.tensor([list(ids)], device=model.device))[0]
    return rows
