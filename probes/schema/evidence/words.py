"""Evidence about pieces and about the vectors of words."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from probes.schema.evidence.shape import Count, Shape
from probes.schema.recorded_ids import RecordedIds


def _check_square(matrix: list[list[float]]) -> list[list[float]]:
    if any(len(row) != len(matrix) for row in matrix):
        raise ValueError("the matrix is not square")
    return matrix


SquareMatrix = Annotated[list[list[float]], AfterValidator(_check_square)]
"""A value for each pair of words, a row a word."""


class Encoding(Shape):
    """A text as the tokenizer encodes it."""

    same_length = ("ids", "pieces")

    text: str
    ids: list[Count]
    """Its token ids, special tokens included."""
    pieces: list[str]


class DoubleBos(Encoding):
    """A text that spells the BOS token which the tokenizer inserts anyway."""

    decoded: str
    """The ids decoded, special tokens included."""


class ScriptTokens(Shape):
    """One text of one script, counted."""

    script: str
    characters: Annotated[int, Field(ge=1)]
    """Its Unicode code points."""
    tokens: Count
    """Its token ids, special tokens left out."""


class TokensByScript(Shape):
    """How many tokens a tokenizer needs for a sentence, script by script."""

    tokens_by_script: list[ScriptTokens]


class KeptIds(Shape):
    """The token ids of the corpus, kept for comparisons."""

    corpus_ids: RecordedIds


class VocabularyTable(Shape):
    """Every piece of a tokenizer."""

    table: str
    """The pieces in the order of ids: their JSON, deflated (zlib), in base64."""

    @classmethod
    def pack(cls, pieces: Sequence[str]) -> VocabularyTable:
        """Return the table of these pieces.

        >>> VocabularyTable.pack(["<s>", "▁The"]).unpack()
        ['<s>', '▁The']
        """
        text = json.dumps(list(pieces), ensure_ascii=False, separators=(",", ":"))
        packed = zlib.compress(text.encode("utf-8", "backslashreplace"))
        return cls(table=base64.b64encode(packed).decode())

    def unpack(self, most_bytes: int = 2**25) -> list[str]:
        """Return the pieces.

        Raises:
            ValueError: the table is damaged, or larger than `most_bytes` when unpacked.
        """
        unpacking = zlib.decompressobj()
        try:
            raw = unpacking.decompress(base64.b64decode(self.table, validate=True), most_bytes)
            pieces = json.loads(raw) if unpacking.eof else None
        except (zlib.error, RecursionError) as error:
            raise ValueError("a damaged table") from error
        if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces):
            raise ValueError("not a table of pieces")
        return pieces


class WordSimilarities(Shape):
    """The cosine similarity of every two words of a list."""

    same_length = ("words", "groups", "cosine_matrix")

    words: list[str]
    groups: list[str]
    """The group of each word; empty for a word of none."""
    cosine_matrix: SquareMatrix


class EmbeddingSimilarities(WordSimilarities):
    """Similarities of embedding rows, for the list of words that decides and for others."""

    other_lists: dict[str, WordSimilarities]
    """The same for other lists, by name."""


class HeadSimilarities(WordSimilarities):
    """Similarities of the rows of the output head."""

    tied_to_the_embedding: bool
    """Whether the head's rows are the embedding's."""


class LayerSimilarities(WordSimilarities):
    """Similarities of hidden states."""

    layer: int


class WordPoint(Shape):
    """A word in the first two principal components."""

    word: str
    group: str
    x: float
    y: float


class WordPlane(Shape):
    """A list of words in the first two principal components."""

    points: list[WordPoint]
    explained_variance: list[float]
    """Share of the variance in each component, the largest first."""


class EmbeddingPlane(WordPlane):
    """Embedding rows in two components, for the list of words that decides and for others."""

    other_lists: dict[str, WordPlane]
    """The same for other lists, by name."""


class SharedPieces(Shape):
    """Words of several pieces, and how similar they are."""

    same_length = ("pieces", "cosine_matrix")

    pieces: dict[str, list[str]]
    """The pieces of each word."""
    cosine_matrix: SquareMatrix
