"""Model folders that are sound as files, and whose networks or tokenizers are odd."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.model_folders import byte_level_tokenizer, change_json, gpt2, save

TINY: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 128,
}
HUGE_TEXT = 500_000
"""Characters of the one token whose text is huge."""


def not_a_number(folder: Path) -> Path:
    """Every weight is NaN, as after training that diverged."""

    def change(network: Any) -> None:
        for weight in network.parameters():
            weight.fill_(float("nan"))

    return tiny_llama(folder, change)


def partly_not_a_number(folder: Path) -> Path:
    """One logit of each step is NaN: greedy search takes it for the largest."""

    def change(network: Any) -> None:
        network.lm_head.weight[7].fill_(float("nan"))

    return tiny_llama(folder, change)


def infinite(folder: Path) -> Path:
    """One logit of each step is infinite, as after an overflow."""

    def change(network: Any) -> None:
        always_the_same(network)
        network.lm_head.weight[7, 0] = float("inf")
        network.lm_head.weight[7, 1:] = 0.0

    return tiny_llama(folder, change)


def all_equal(folder: Path) -> Path:
    """Every token has the same logit: its output head is zero."""

    def change(network: Any) -> None:
        network.lm_head.weight.zero_()

    return tiny_llama(folder, change)


def ends_at_once(folder: Path) -> Path:
    """The end-of-sequence token is the most likely after anything, by far."""

    def change(network: Any) -> None:
        always_the_same(network)
        network.lm_head.weight[network.config.eos_token_id, 0] = 40.0

    return tiny_llama(folder, change)


def no_bos_and_no_end(folder: Path) -> Path:
    """Neither its tokenizer nor its configuration names a special token of any kind."""
    size, _ = byte_level_tokenizer(folder)
    forget_special_tokens(folder)
    tiny_llama(folder, None, vocab_size=size, bos_token_id=None, eos_token_id=None)
    return folder


def padding_without_row(folder: Path) -> Path:
    """A padding token that was added, and the embedding not made larger for it."""
    tiny_llama(folder, None)
    size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    change_json(folder / "generation_config.json", lambda each: each.update(pad_token_id=size))
    return folder


def end_without_row(folder: Path) -> Path:
    """The settings of another model: texts end with an id that this one does not have."""
    size, _ = byte_level_tokenizer(folder)
    tiny_llama(folder, None, vocab_size=size, eos_token_id=size + 1000)
    return folder


def short_context(folder: Path) -> Path:
    """A GPT-2 with learnt positions for eight tokens, and none beyond."""
    return gpt2(folder, layers=1, positions=8)


def two_tokens(folder: Path) -> Path:
    """A vocabulary of two."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
    return tiny_llama(folder, None, vocab_size=2, bos_token_id=None, eos_token_id=None)


def undecodable(folder: Path) -> Path:
    """Most ids of the embedding have no text: the tokenizer raises an error when asked for it."""
    folder.mkdir(parents=True)
    settings = {"tokenizer_class": "ByT5Tokenizer", "eos_token": "</s>", "pad_token": "<pad>",
                "unk_token": "<unk>", "extra_ids": 0}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    pieces = {piece: i for i, piece in enumerate(("<pad>", "</s>", "<unk>"))}
    (folder / "vocab.json").write_text(json.dumps(pieces), encoding="utf-8")
    return tiny_llama(folder, None, vocab_size=1000, bos_token_id=None, eos_token_id=1)


def huge_text(folder: Path) -> Path:
    """The most likely token after any prompt has a text of half a million characters."""
    from transformers import AutoTokenizer

    byte_level_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["long " * (HUGE_TEXT // 5)])
    tokenizer.save_pretrained(folder)

    def change(network: Any) -> None:
        always_the_same(network)
        network.lm_head.weight[len(tokenizer) - 1, 0] = 4.0

    return tiny_llama(folder, change, vocab_size=len(tokenizer))


ODD: tuple[Callable[[Path], Path], ...] = (
    not_a_number,
    partly_not_a_number,
    infinite,
    all_equal,
    ends_at_once,
    no_bos_and_no_end,
    short_context,
    two_tokens,
    undecodable,
    huge_text,
)


def tiny_llama(folder: Path, change: Callable[[Any], None] | None, **config: Any) -> Path:
    """A Llama, changed before it is saved, with a byte-level tokenizer unless there is one."""
    from transformers import LlamaConfig

    if not config:
        size, end = byte_level_tokenizer(folder)
        config = {"vocab_size": size, "bos_token_id": end, "eos_token_id": end}
    elif "eos_token_id" not in config:
        config |= {"bos_token_id": 0, "eos_token_id": 0}
    save(folder, LlamaConfig(**TINY, **config), change)
    return folder


def always_the_same(network: Any) -> None:
    """Make the first coordinate of the last hidden state 1 or so after any prompt."""
    network.model.embed_tokens.weight[:, 0] = 100.0
    network.lm_head.weight[:, 0] = 0.0


def forget_special_tokens(folder: Path) -> None:
    def forget(settings: dict[str, Any]) -> None:
        for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
            settings.pop(name, None)

    change_json(folder / "tokenizer_config.json", forget)
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
