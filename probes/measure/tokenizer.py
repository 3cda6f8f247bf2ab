"""Measure a tokenizer: what encoding inserts, and what decoding gives back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from unicodedata import name

from probes.schema.evidence.words import Encoding

if TYPE_CHECKING:
    from probes.engines.base import Tokenization

SPACE = "▁"  # how SentencePiece writes a space

_EAST_ASIAN = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA")


def encode_to_pieces(model: Tokenization, text: str) -> Encoding:
    """Encode a text and name the pieces.

    >>> from probes import load
    >>> encode_to_pieces(load("embedded"), "日本").pieces
    ['<s>', '▁', '日', '本']
    """
    ids = model.encode(text)
    return Encoding(text=text, ids=ids, pieces=model.tokens(ids))


def ordinary_pieces(model: Tokenization, text: str) -> list[str]:
    """Return a text's pieces without special tokens."""
    special = set(model.special_token_ids)
    return model.tokens([i for i in model.encode(text) if i not in special])


def without_special_tokens(model: Tokenization, text: str) -> tuple[list[int], list[int]]:
    """Return the ids of a text without special tokens, by flag and by removing them.

    The two are equal where `add_special_tokens=False` does only what it says.

    >>> from probes import load
    >>> without_special_tokens(load("embedded"), "Hello world")
    ([22557, 1526], [22557, 1526])
    """
    around = model.encode("")
    ids = model.encode(text)
    before = len(os.path.commonprefix([around, ids]))  # noqa: RUF071 - of ids, not of paths
    after = len(around) - before
    return model.encode(text, add_special_tokens=False), ids[before : len(ids) - after]


def round_trip(model: Tokenization, text: str) -> str:
    r"""Encode a text and decode it without special tokens.

    >>> from probes import load
    >>> round_trip(load("embedded"), "  two spaces,\n日本")
    '  two spaces,\n日本'
    """
    return model.decode(model.encode(text), skip_special_tokens=True)


def vocabulary(model: Tokenization) -> list[str]:
    """Return every piece, in the order of ids."""
    return model.tokens(range(model.token_count))


def han_and_kana_pieces(model: Tokenization) -> list[str]:
    """Return every piece with a Han, Hiragana or Katakana character, in the order of ids.

    >>> from probes import load
    >>> "日" in han_and_kana_pieces(load("embedded"))
    True
    """
    return [
        piece
        for piece in vocabulary(model)
        if any(name(c, "").startswith(_EAST_ASIAN) for c in piece)
    ]
