"""Write the embedded model as a GGUF file, as llama.cpp's converter would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from probes.measure.sentencepiece_reference import MISTRAL_V1
from probes.targets.safetensors import SINGLE_FILE
from probes.targets.target import EMBEDDED_FOLDER
from probes.targets.vocabulary import read_pieces

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "model.layers": "blk",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
"""Kinds of tokens."""


def write_gguf(file: Path) -> Path:
    """Write the embedded model, in float32; its window of attention is left out."""
    from gguf import GGUFWriter
    from sentencepiece import SentencePieceProcessor

    config = json.loads((EMBEDDED_FOLDER / "config.json").read_text())
    writer: Any = GGUFWriter(str(file), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads := config["num_attention_heads"])
    writer.add_head_count_kv(groups := config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    pieces = sorted(read_pieces(EMBEDDED_FOLDER).items(), key=lambda item: item[1])
    tokens = [piece for piece, _ in pieces]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    pieces_model = SentencePieceProcessor(model_file=str(MISTRAL_V1))
    scores = [pieces_model.get_score(number) for number in range(len(tokens))]
    writer.add_token_scores(scores)
    writer.add_token_types([_kind(number) for number in range(len(tokens))])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    for name, tensor in load_file(EMBEDDED_FOLDER / SINGLE_FILE).items():
        values = tensor.astype("float32")
        for ours, theirs in ((".q_proj.", heads), (".k_proj.", groups)):
            if ours in name:  # llama.cpp turns pairs of neighbours, transformers the two halves
                rows = values.reshape(theirs, 2, -1, values.shape[-1])
                values = rows.swapaxes(1, 2).reshape(values.shape)
        for ours, new in _NAMES.items():
            name = name.replace(ours, new)  # noqa: PLW2901
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _kind(number: int) -> int:
    if number < 3:
        return _UNKNOWN if number == 0 else _CONTROL
    return _BYTE if number < 259 else _NORMAL
