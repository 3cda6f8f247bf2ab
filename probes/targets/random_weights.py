"""Describe the tensors of a network with random weights from its configuration.

Such weights need no download: they are drawn on the device when the network is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probes._util.text import quote
from probes.errors import UserError
from probes.targets.safetensors import Tensor

MODEL_TYPES = ("llama", "mistral")

_STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def describe_tensors(file: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return every tensor of the configured network by name, or raise UserError."""
    if config.get("model_type") not in MODEL_TYPES:
        raise UserError(
            f"{file}: model_type is {quote(config.get('model_type'))}; random weights are drawn "
            f"for {' and '.join(MODEL_TYPES)} only"
        )
    import torch
    import transformers

    try:
        with torch.device("meta"):  # no memory is taken
            network: Any = transformers.AutoModelForCausalLM.from_config(
                transformers.AutoConfig.for_model(**config)
            )
    except Exception as error:  # of any class: the library decides what a configuration may hold
        raise UserError(
            f"{file}: transformers cannot build its network: {type(error).__name__}: {error}"
        ) from None
    stored = _STORED.get(str(config.get("torch_dtype", config.get("dtype"))), "F16")
    weights = network.named_parameters()
    return {name: Tensor(stored, tuple(weight.shape)) for name, weight in weights}
