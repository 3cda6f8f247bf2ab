"""Count the bytes that a model reads for each new token: its weights and its key-value cache."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.engines.transformers.engine import TransformersEngine


def count_weight_bytes(model: TransformersEngine) -> int:
    """Return the bytes of the weights that a forward pass reads, scales of quantized ones included.

    An embedding that is not also the output head is left out: only a few of its rows are read.

    >>> model = load("embedded")
    >>> count_weight_bytes(model) == model.network.get_memory_footprint(return_buffers=False)
    True
    """
    network = model.network
    embedding = network.get_input_embeddings().weight
    head = network.get_output_embeddings()
    tied = head is not None and head.weight is embedding
    read = [weight for weight in network.parameters() if tied or weight is not embedding]
    scales = [getattr(getattr(weight, "quant_state", None), "absmax", None) for weight in read]
    stored = [*read, *(scale for scale in scales if scale is not None)]
    return sum(int(tensor.numel() * tensor.element_size()) for tensor in stored)


def count_cache_bytes(model: TransformersEngine) -> int:
    """Return the bytes of a model's key-value cache at one position of one sequence.

    >>> count_cache_bytes(load("embedded"))  # 4 layers, 2 heads of 32 numbers of 4 bytes
    2048
    """
    config: Any = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    return 2 * int(config.num_hidden_layers * kept * width * model.network.dtype.itemsize)


def count_bytes_per_token(model: TransformersEngine, batch: int, prompt: int, new: int) -> float:
    """Return the bytes read for each token after the first of `new` ones.

    The weights are read once for the whole batch, each sequence's cache for it alone; the cache
    counts with its mean length.

    >>> model = load("embedded")
    >>> count_bytes_per_token(model, 2, prompt=6, new=4) == count_weight_bytes(model) / 2 + 8 * 2048
    True
    """
    window = getattr(model.config.get_text_config(), "sliding_window", None) or float("inf")
    positions = statistics.mean(min(prompt + written, window) for written in range(1, new))
    return count_weight_bytes(model) / batch + count_cache_bytes(model) * positions
