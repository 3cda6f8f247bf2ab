"""Write the folder of the embedded model."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from probes.training.recipe import model_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import MistralForCausalLM


def config_json() -> str:
    """Return the text of ``config.json``, the same under every transformers version.

    The rotary base and the dtype have their older and their newer name, so that versions from 4.46
    on read them without a warning. The dtype is that of use: weights are stored in float16 and
    widened when they are loaded.
    """
    shape = model_config()
    base = 10000.0
    return _json(
        {
            "architectures": ["MistralForCausalLM"],
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "dtype": "float32",
            "eos_token_id": 2,
            "head_dim": shape.head_dim,
            "hidden_act": "silu",
            "hidden_size": shape.hidden_size,
            "initializer_range": shape.initializer_range,
            "intermediate_size": shape.intermediate_size,
            "max_position_embeddings": shape.max_position_embeddings,
            "model_type": "mistral",
            "num_attention_heads": shape.num_attention_heads,
            "num_hidden_layers": shape.num_hidden_layers,
            "num_key_value_heads": shape.num_key_value_heads,
            "rms_norm_eps": shape.rms_norm_eps,
            "rope_parameters": {"rope_theta": base, "rope_type": "default"},
            "rope_theta": base,
            "sliding_window": shape.sliding_window,
            "tie_word_embeddings": True,
            "torch_dtype": "float32",
            "use_cache": True,
            "vocab_size": shape.vocab_size,
        }
    )


def write_model(model: MistralForCausalLM, folder: Path) -> None:
    """Write configuration and float16 weights; the output head is the embedding, stored once."""
    files = {
        "config.json": config_json(),
        "generation_config.json": _json({"bos_token_id": 1, "eos_token_id": 2}),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    tensors = {
        name: tensor.to(torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, and move its files into ``folder`` at the end.

    Each is replaced in one step, so a reader sees the old one or the new one. Nothing is moved
    where the block raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        yield work
        for path in sorted(work.iterdir()):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
