"""Build model folders: by hand, to inspect their files, or small networks that can be loaded."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from probes.data.tokenizer_texts import SCRIPTS
from probes.targets.target import EMBEDDED_FOLDER

Tensors = Mapping[str, tuple[str, list[int]]]

# --- written by hand: no library under test is involved ------------------------------------------

EMBEDDING = "model.embed_tokens.weight"
TENSORS: dict[str, tuple[str, list[int]]] = {
    EMBEDDING: ("F16", [16, 4]),
    "model.norm": ("F32", [4]),
}
_BYTES = {"F16": 2, "F32": 4, "U8": 1}
_CONFIG = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "vocab_size": 16,
    "hidden_size": 4,
    "num_hidden_layers": 1,
}
_TOKENIZER = {
    "model": {"type": "BPE", "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "▁a": 3}, "merges": []},
    "added_tokens": [{"id": 1, "content": "<s>"}, {"id": 15, "content": "<pad>"}],
}


def write_folder(folder: Path, **files: Any) -> Path:
    """Write a sound model folder; a keyword replaces a file's content, None leaves it out."""
    folder.mkdir(parents=True)
    contents = {
        "config.json": _CONFIG,
        "tokenizer.json": _TOKENIZER,
        "model.safetensors": pack(TENSORS),
    }
    for file, content in (contents | files).items():
        if content is not None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            (folder / file).write_bytes(data)
    return folder


def pack(tensors: Tensors) -> bytes:
    """Return a safetensors file in which every element is zero."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * _BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    return pack_header(json.dumps(entries).encode()) + bytes(end)


def pack_header(header: bytes) -> bytes:
    """Return the beginning of a safetensors file: the header's length and the header."""
    return struct.pack("<Q", len(header)) + header


# --- small networks with random weights ----------------------------------------------------------

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
SMALL_DECODER: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
}


def llama(folder: Path) -> Path:
    """A Llama with the tokenizer of Mistral-7B-v0.1."""
    from transformers import LlamaConfig

    save(folder, LlamaConfig(vocab_size=32000, bos_token_id=1, eos_token_id=2, **SMALL_DECODER))
    return _copy_tokenizer(folder)


def mistral(folder: Path) -> Path:
    """A Mistral with the tokenizer of Mistral-7B-v0.1."""
    from transformers import MistralConfig

    save(folder, MistralConfig(vocab_size=32000, sliding_window=16, **SMALL_DECODER))
    return _copy_tokenizer(folder)


def qwen2(folder: Path) -> Path:
    """A Qwen2 with a byte-level tokenizer, a pad token of its own and more rows than tokens."""
    from transformers import Qwen2Config

    size, end = byte_level_tokenizer(folder, pad_token="<|pad|>")
    save(folder, Qwen2Config(vocab_size=size + 28, eos_token_id=end, bos_token_id=None,
                             **SMALL_DECODER))  # fmt: skip
    return folder


def gpt2(folder: Path, layers: int = 2, positions: int = 512) -> Path:
    """A GPT-2 with a byte-level tokenizer, whose linear layers are stored transposed."""
    from transformers import GPT2Config

    size, end = byte_level_tokenizer(folder)
    save(folder, GPT2Config(vocab_size=size, n_embd=64, n_layer=layers, n_head=4,
                            n_positions=positions, bos_token_id=end, eos_token_id=end))  # fmt: skip
    return folder


def mixtral(folder: Path) -> Path:
    """A mixture of four experts, with a byte-level tokenizer."""
    from transformers import MixtralConfig

    size, end = byte_level_tokenizer(folder)
    save(folder, MixtralConfig(vocab_size=size, eos_token_id=end, bos_token_id=end,
                               num_local_experts=4, num_experts_per_tok=2, sliding_window=None,
                               **SMALL_DECODER))  # fmt: skip
    return folder


def gemma3(folder: Path) -> Path:
    """A Gemma 3, whose embedding layer scales its rows, with a byte-level tokenizer."""
    from transformers import Gemma3TextConfig

    size, end = byte_level_tokenizer(folder)
    save(folder, Gemma3TextConfig(vocab_size=size, eos_token_id=end, bos_token_id=end,
                                  head_dim=16, sliding_window=16, **SMALL_DECODER))  # fmt: skip
    return folder


def padded_and_tied(folder: Path) -> Path:
    """A Llama whose embedding has more rows than the tokenizer has tokens, and is its head."""
    return _padded(folder, tied=True)


def padded_and_untied(folder: Path) -> Path:
    """The same with a head of its own."""
    return _padded(folder, tied=False)


def _padded(folder: Path, *, tied: bool) -> Path:
    from transformers import LlamaConfig

    size, end = byte_level_tokenizer(folder)
    save(folder, LlamaConfig(vocab_size=size + 56, eos_token_id=end, bos_token_id=end,
                             tie_word_embeddings=tied, **SMALL_DECODER))  # fmt: skip
    return folder


def with_a_layer_too_many(folder: Path) -> Path:
    """A Llama whose files hold a layer more than its configuration says."""
    change_json(llama(folder) / "config.json", lambda each: each.update(num_hidden_layers=1))
    return folder


def that_splits_digits(folder: Path, tokenizer_class: str) -> Path:
    """A Llama with a BPE of 2,000 pieces that encodes each digit alone, as Granite's does.

    The vocabulary has longer numbers, too: a class that makes the tokenizer again from the pieces
    and merges, and not from tokenizer.json, uses them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig

    end, folder = "<|end_of_text|>", Path(folder)
    folder.mkdir(parents=True)
    trained: Any = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    numbers = [f"{number} {number**2}" for number in range(1000, 1400)]
    trained.train_from_iterator([*SCRIPTS.values(), *numbers], trainer)
    alone = pre_tokenizers.Digits(individual_digits=True)
    trained.pre_tokenizer = pre_tokenizers.Sequence([alone, trained.pre_tokenizer])
    trained.decoder = decoders.ByteLevel()
    trained.save(str(folder / "tokenizer.json"))
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = (each if isinstance(each, str) else " ".join(each) for each in model["merges"])
    settings = {"tokenizer_class": tokenizer_class, "add_prefix_space": False}
    settings |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), end)
    for name, content in {
        "vocab.json": json.dumps(model["vocab"]),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]),
        "tokenizer_config.json": json.dumps(settings),
    }.items():
        (folder / name).write_text(content, encoding="utf-8")
    save(folder, LlamaConfig(vocab_size=2000, bos_token_id=0, eos_token_id=0, **SMALL_DECODER))
    return folder


OTHER_BASE = 500_000.0
"""A base of rotary positions that is no architecture's default here."""


def rope_base_under_old_key(folder: Path) -> Path:
    """A Llama whose base of rotary positions stands where transformers 4 wrote it."""
    return llama_with_rope(folder, rope_theta=OTHER_BASE)


def rope_base_under_new_key(folder: Path) -> Path:
    """A Llama whose base of rotary positions stands where transformers 5 writes it, and only there:
    transformers 4 takes its default."""
    return llama_with_rope(
        folder, rope_parameters={"rope_theta": OTHER_BASE, "rope_type": "default"}
    )


def llama_with_rope(folder: Path, **settings: Any) -> Path:
    """A Llama whose config.json describes its rotary positions by these keys alone."""

    def replace(config: dict[str, Any]) -> None:
        for key in ("rope_theta", "rope_scaling", "rope_parameters"):
            config.pop(key, None)
        config.update(settings)

    change_json(llama(folder) / "config.json", replace)
    return folder


def save(folder: Path, config: Any, change: Callable[[Any], None] | None = None) -> None:
    """Save a network of a configuration, changed before that."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config)
    if change is not None:
        with torch.no_grad():
            change(network)
    network.save_pretrained(folder)


def byte_level_tokenizer(folder: Path, **special: str) -> tuple[int, int]:
    """Train a small byte-level BPE tokenizer; return its size and the id of its end token."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    end = "<|endoftext|>"
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        SCRIPTS.values(),
        vocab_size=400,
        special_tokens=[end, *special.values()],
        show_progress=False,
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, bos_token=end, eos_token=end, **special
    )
    tokenizer.save_pretrained(folder)
    return len(tokenizer), tokenizer.vocab[end]


def _copy_tokenizer(folder: Path) -> Path:
    for name in TOKENIZER_FILES:
        shutil.copy(EMBEDDED_FOLDER / name, folder)
    return folder


# --- the embedded model with another tokenizer ---------------------------------------------------


def with_tokenizer_json(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The embedded model with something changed in its tokenizer.json."""
    shutil.copytree(EMBEDDED_FOLDER, folder)
    change_json(folder / "tokenizer.json", change)
    return folder


def with_settings(folder: Path, generation: Mapping[str, Any] | None = None, **config: Any) -> Path:
    """The embedded model with settings of `generate()` in its two files.

    Without `generation` there is no generation_config.json, as in folders of before 2023.
    """
    shutil.copytree(EMBEDDED_FOLDER, folder)
    change_json(folder / "config.json", lambda content: content.update(config))
    file = folder / "generation_config.json"
    if generation is None:
        file.unlink()
    else:
        change_json(file, lambda content: content.update(generation))
    return folder


def change_json(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def swap_two_ids(content: dict[str, Any]) -> None:
    pieces = content["model"]["vocab"]
    pieces["▁The"], pieces["日"] = pieces["日"], pieces["▁The"]


def lose_bos(content: dict[str, Any]) -> None:
    content["post_processor"] = None


def double_bos(content: dict[str, Any]) -> None:
    single = content["post_processor"]["single"]
    single.insert(0, single[0])


def lose_prefix_space(content: dict[str, Any]) -> None:
    """As a conversion that puts no space before the text."""
    del content["pre_tokenizer"]["pretokenizers"][0]


def with_sentencepiece_alone(folder: Path) -> Path:
    """The embedded model with the SentencePiece model of its tokenizer, and no other file of it."""
    from probes.measure.sentencepiece_reference import MISTRAL_V1

    shutil.copytree(EMBEDDED_FOLDER, folder, ignore=shutil.ignore_patterns(*TOKENIZER_FILES))
    shutil.copy(MISTRAL_V1, folder / "tokenizer.model")
    return folder


def with_sentencepiece_as_published(folder: Path) -> Path:
    """The same with a tokenizer_config.json that names the class, as published models have it."""
    with_sentencepiece_alone(folder)
    file = shutil.copy(EMBEDDED_FOLDER / "tokenizer_config.json", folder)
    change_json(Path(file), lambda config: config.update(tokenizer_class="LlamaTokenizer"))
    return folder
