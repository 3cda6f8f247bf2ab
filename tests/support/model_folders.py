"""Model folders made on the spot: small networks with random weights, of several architectures.

torch and transformers are imported only when a folder is made.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from probes.data.tokenizer_texts import SCRIPTS
from probes.targets.target import EMBEDDED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
SMALL: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL_DECODER: dict[str, Any] = SMALL | {"num_key_value_heads": 2, "intermediate_size": 128}


def llama(folder: Path) -> Path:
    """A Llama with the tokenizer of Mistral-7B-v0.1."""
    from transformers import LlamaConfig

    save(folder, LlamaConfig(vocab_size=32000, bos_token_id=1, eos_token_id=2, **SMALL_DECODER))
    for name in TOKENIZER_FILES:
        shutil.copy(EMBEDDED_FOLDER / name, folder)
    return folder


def mistral(folder: Path) -> Path:
    """A Mistral with the tokenizer of Mistral-7B-v0.1."""
    from transformers import MistralConfig

    save(folder, MistralConfig(vocab_size=32000, sliding_window=16, **SMALL_DECODER))
    for name in TOKENIZER_FILES:
        shutil.copy(EMBEDDED_FOLDER / name, folder)
    return folder


def qwen2(folder: Path) -> Path:
    """A Qwen2 with a byte-level tokenizer, a pad token of its own and more rows than tokens."""
    from transformers import Qwen2Config

    size, end = byte_level_tokenizer(folder, pad_token="<|pad|>")
    save(folder, Qwen2Config(vocab_size=size + 28, eos_token_id=end, bos_token_id=None,
                             **SMALL_DECODER))  # fmt: skip
    return folder


def gpt2(folder: Path) -> Path:
    """A GPT-2 with a byte-level tokenizer, whose linear layers are stored transposed."""
    from transformers import GPT2Config

    size, end = byte_level_tokenizer(folder)
    save(folder, GPT2Config(vocab_size=size, n_embd=64, n_layer=2, n_head=4, n_positions=512,
                            bos_token_id=end, eos_token_id=end))  # fmt: skip
    return folder


def save(folder: Path, config: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def byte_level_tokenizer(folder: Path, **special: str) -> tuple[int, int]:
    """Train a small byte-level BPE tokenizer; returns its size and the id of its end token."""
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


def with_tokenizer_json(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The embedded model with something changed in its tokenizer.json."""
    shutil.copytree(EMBEDDED_FOLDER, folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    return folder


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


def with_sentencepiece_as_published(folder: Path) -> Path:
    """The same with a tokenizer_config.json that names the class, as published models have it."""
    with_sentencepiece_alone(folder)
    config = json.loads((EMBEDDED_FOLDER / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["tokenizer_class"] = "LlamaTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def with_sentencepiece_alone(folder: Path) -> Path:
    """The embedded model with the SentencePiece model its tokenizer was made from, and no other."""
    from probes.measure.sentencepiece_reference import MISTRAL_V1

    shutil.copytree(EMBEDDED_FOLDER, folder)
    for name in TOKENIZER_FILES:
        (folder / name).unlink()
    shutil.copy(MISTRAL_V1, folder / "tokenizer.model")
    return folder
