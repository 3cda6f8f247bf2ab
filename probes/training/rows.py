"""Draw rows of token ids from the corpus: the input of one training step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from probes.training.corpus import BOS, Corpus

PAGE_SHARE = 0.35  # share of rows that are pages, without BOS
DOUBLE_BOS_SHARE = 0.15  # share of document rows with two BOS, like a prompt that spells it
NOISE = 0.004  # share of tokens replaced by another token of the same batch

Ids = NDArray[np.int64]


class RowSource:
    """Draw rows of token ids; the seed decides the text and the order of rows."""

    def __init__(self, tokenizer_file: Path, seed: int) -> None:
        """Take the ``tokenizer.json`` of the embedded model."""
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._rng = np.random.default_rng(seed)
        self._corpus = Corpus(seed)
        self._documents = self._corpus.documents()

    def draw(self, count: int, length: int) -> Ids:
        """Return ids of shape (count, length); a row ends where it is full."""
        rows = np.stack([self._row(length) for _ in range(count)])
        replaced = self._rng.random(rows.shape) < NOISE
        rows[replaced] = self._rng.choice(rows.ravel(), int(replaced.sum()))
        return rows

    def _row(self, length: int) -> Ids:
        ids: list[int] = []
        if self._rng.random() < PAGE_SHARE:
            page, text = self._corpus.pages(), ""
            # A token is at most a few characters of this text: one round is nearly always enough.
            while len(ids) < length:
                text += _take(page, 8 * length)
                ids = self._encode(text)
        else:
            prefix = BOS if self._rng.random() < DOUBLE_BOS_SHARE else ""
            while len(ids) < length:
                ids += self._encode(prefix + next(self._documents))
                prefix = ""
        return np.array(ids[:length], dtype=np.int64)

    def _encode(self, text: str) -> list[int]:
        encoded: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return encoded


def _take(pieces: Iterator[str], characters: int) -> str:
    text = ""
    while len(text) < characters:
        text += next(pieces)
    return text
