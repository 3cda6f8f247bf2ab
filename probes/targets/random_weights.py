"""Describe the tensors of a network with random weights from its configuration.

Such weights need no download: they are drawn on the device when the network is loaded. Only the
layout of Llama's decoder, which Mistral shares, is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probes._util.text import quote
from probes.errors import UserError
from probes.targets.safetensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODEL_TYPES = ("llama", "mistral")

_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
_STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def describe_tensors(file: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return every tensor of the configured network by name; refuse what is no Llama decoder.

    >>> from pathlib import Path
    >>> small = {"model_type": "mistral", "vocab_size": 10, "hidden_size": 8,
    ...          "intermediate_size": 16, "num_hidden_layers": 1,
    ...          "num_attention_heads": 2, "num_key_value_heads": 1}
    >>> describe_tensors(Path("c.json"), small)["model.layers.0.self_attn.k_proj.weight"].shape
    (4, 8)
    """
    if config.get("model_type") not in MODEL_TYPES:
        raise UserError(
            f"{file}: model_type is {quote(config.get('model_type'))}; random weights are drawn "
            f"for {' and '.join(MODEL_TYPES)} only"
        )
    for name in _SIZES:
        if type(config.get(name)) is not int or config[name] < 1:
            raise UserError(
                f"{file}: {name} is {quote(config.get(name))}, expected a whole number from 1"
            )
    vocabulary, width, inner, layers, heads, groups = (config[name] for name in _SIZES)
    head = config.get("head_dim") or width // heads
    one_layer = {
        "self_attn.q_proj": (heads * head, width),
        "self_attn.k_proj": (groups * head, width),
        "self_attn.v_proj": (groups * head, width),
        "self_attn.o_proj": (width, heads * head),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
    }
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (vocabulary, width)}
    for layer in range(layers):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in one_layer.items()}
    shapes["model.norm"] = (width,)
    if not config.get("tie_word_embeddings", False):
        shapes["lm_head"] = (vocabulary, width)
    stored = _STORED.get(str(config.get("torch_dtype", config.get("dtype"))), "F16")
    return {f"{name}.weight": Tensor(stored, shape) for name, shape in shapes.items()}
