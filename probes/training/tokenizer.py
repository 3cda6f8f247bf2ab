"""Convert the SentencePiece model of Mistral-7B-v0.1 to the two files of transformers.

The second has a chat template of our own, ``chat_template.jinja``: Mistral-7B-v0.1 has none.

``probes/data`` has the SentencePiece model. ``tokenizer.json`` gives the same ids
as SentencePiece itself:

* **Merges.** SentencePiece stores one score per piece and joins the adjacent pair whose union
  has the best score. The other format needs an ordered list of pairs, so every way to split a
  piece into two pieces becomes one pair, in the order of the scores.
* **Leading space.** The text is encoded as if it began with one more space, also where it
  begins with spaces. Nothing is added to text after a spelled special token. One ``Metaspace``
  step cannot do both (it adds nothing where there is a space), so `_PRE_TOKENIZER` has two.
* **Bytes.** A character without a piece becomes the pieces of its UTF-8 bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.data.tokenizer_texts import SPECIAL_PIECES
from probes.measure.sentencepiece_reference import MISTRAL_V1

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

SPACE = "\u2581"
"""The character that represents a space inside a piece."""

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
"""Renders a system message, several turns, tools, their calls and results; BOS once, first."""

# The normalizer leaves no space, so the first step adds one at the start of every text (never
# after a special token), and the second renames it.
_NORMALIZER: dict[str, Any] = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PRE_TOKENIZER: dict[str, Any] = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Metaspace", "replacement": " ", "prepend_scheme": "first", "split": False},
        {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "never", "split": False},
    ],
}
_DECODER: dict[str, Any] = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}
_BOS: dict[str, Any] = {"SpecialToken": {"id": "<s>", "type_id": 0}}
_TEXT: dict[str, Any] = {"Sequence": {"id": "A", "type_id": 0}}
_POST_PROCESSOR: dict[str, Any] = {
    "type": "TemplateProcessing",
    "single": [_BOS, _TEXT],
    "pair": [
        _BOS,
        _TEXT,
        {"SpecialToken": {"id": "<s>", "type_id": 1}},
        {"Sequence": {"id": "B", "type_id": 1}},
    ],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
}


def reference_processor() -> SentencePieceProcessor:
    """Load the SentencePiece model of Mistral-7B-v0.1."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(MISTRAL_V1))


def merges_from_pieces(pieces: list[str]) -> list[str]:
    """List the merges that build pieces, which are ordered from best to worst score.

    A piece that can be split in several ways gives several pairs, the one with the shorter left
    part last.

    >>> merges_from_pieces(["ab", "abc", "a", "b", "c", "bc"])
    ['a b', 'ab c', 'a bc', 'b c']
    """
    known = set(pieces)
    return [
        f"{piece[:cut]} {piece[cut:]}"
        for piece in pieces
        for cut in range(len(piece) - 1, 0, -1)
        if piece[:cut] in known and piece[cut:] in known
    ]


def tokenizer_json(processor: SentencePieceProcessor) -> str:
    """Return the text of ``tokenizer.json`` for BPE pieces that begin with the special tokens."""
    size = processor.get_piece_size()
    vocabulary = {processor.id_to_piece(i): i for i in range(size)}
    ordinary = [i for i in range(len(SPECIAL_PIECES), size) if not processor.is_byte(i)]
    # Runs of spaces have the worst scores, though some of the smallest ids.
    ordinary.sort(key=lambda i: (-processor.get_score(i), i))
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(i, token) for i, token in enumerate(SPECIAL_PIECES)],
        "normalizer": _NORMALIZER,
        "pre_tokenizer": _PRE_TOKENIZER,
        "post_processor": _POST_PROCESSOR,
        "decoder": _DECODER,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges_from_pieces([processor.id_to_piece(i) for i in ordinary]),
        },
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def tokenizer_config_json() -> str:
    """Return the text of ``tokenizer_config.json``.

    The class is the general one, which uses ``tokenizer.json`` unchanged. ``LlamaTokenizer`` builds
    its own steps in transformers 5 and drops one leading space of a text.
    """
    tokens = {
        str(i): {key: value for key, value in _added_token(i, token).items() if key != "id"}
        for i, token in enumerate(SPECIAL_PIECES)
    }
    document = {
        "added_tokens_decoder": tokens,
        "bos_token": "<s>",
        "chat_template": CHAT_TEMPLATE.read_text(encoding="utf-8").rstrip("\n"),
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "model_input_names": ["input_ids", "attention_mask"],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def write_tokenizer(folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` into an existing folder."""
    files = {
        "tokenizer.json": tokenizer_json(reference_processor()),
        "tokenizer_config.json": tokenizer_config_json(),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _added_token(token_id: int, content: str) -> dict[str, Any]:
    return {
        "id": token_id,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
