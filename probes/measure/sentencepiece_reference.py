"""The SentencePiece model that a fast tokenizer was converted from, as its reference."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from probes._util.files import PACKAGE
from probes._util.garbage import pause_cycle_search
from probes.data.tokenizer_texts import SPECIAL_PIECES
from probes.engines.session_cache import once_per_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probes.engines.transformers.engine import TransformersEngine

MISTRAL_V1 = PACKAGE / "data" / "mistral-7b-v0.1.model"
"""The SentencePiece model of Mistral-7B-v0.1, as its makers published it."""

_SPELLED = re.compile(f"({'|'.join(SPECIAL_PIECES)})")
_NO_PIECE_CROSSES = "\n"
_SHOWN_IDS = 6


@dataclass(frozen=True)
class Disagreement:
    """A text on which tokenizer and reference differ."""

    text: str
    ids: list[int]
    reference_ids: list[int]

    def describe(self) -> str:
        """Describe the first difference in one line.

        >>> Disagreement("The capital", [1014, 5565], [1, 415, 5565]).describe()
        "'The capital' gives [1014, 5565] from position 0 on, not [1, 415, 5565]"
        """
        pairs = enumerate(zip_longest(self.ids, self.reference_ids))
        at = next(position for position, (a, b) in pairs if a != b)
        end = at + _SHOWN_IDS
        return (
            f"{self.text!r} gives {self.ids[at:end]} from position {at} on, "
            f"not {self.reference_ids[at:end]}"
        )


@dataclass(frozen=True)
class Reference:
    """A SentencePiece model; BOS and spelled special tokens are handled as by its makers."""

    file: Path

    @cached_property
    def _processor(self) -> Any:
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_file=str(self.file))

    @property
    def size(self) -> int:
        """Number of pieces."""
        return int(self._processor.vocab_size())

    def pieces(self) -> list[str]:
        """Return every piece, in the order of ids.

        >>> Reference(MISTRAL_V1).pieces()[:3]
        ['<unk>', '<s>', '</s>']
        """
        return [str(self._processor.id_to_piece(i)) for i in range(self.size)]

    def encode(self, text: str) -> list[int]:
        """Return ids with BOS first; a spelled special token becomes its id.

        Only the beginning of the text is encoded as if a space came before it, not what follows a
        spelled special token.

        >>> Reference(MISTRAL_V1).encode("<s> What")
        [1, 1, 1824]
        """
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of several texts.

        >>> Reference(MISTRAL_V1).encode_all(["<s> What", "日本"])
        [[1, 1, 1824], [1, 28705, 29142, 29119]]
        """
        bos = int(self._processor.bos_id())
        plain = [text for text in texts if not _SPELLED.search(text)]
        ids = iter(self._processor.encode(plain))  # in one call, several times as fast
        return [
            [bos, *(self._encode_parts(text) if _SPELLED.search(text) else next(ids))]
            for text in texts
        ]

    def _encode_parts(self, text: str) -> list[int]:
        """Encode a text that spells special tokens, without BOS."""
        ids: list[int] = []
        for position, part in enumerate(_SPELLED.split(text)):
            if part in SPECIAL_PIECES:
                ids.append(int(self._processor.piece_to_id(part)))
            elif part and position == 0:
                ids += self._processor.encode(part)
            elif part:
                ids += self._encode_without_leading_space(part)
        return ids

    def _encode_without_leading_space(self, part: str) -> list[int]:
        """Encode a part without a leading space: a newline takes it, and is removed again."""
        leading = self._processor.encode(_NO_PIECE_CROSSES)
        return list(self._processor.encode(_NO_PIECE_CROSSES + part)[len(leading) :])


@once_per_session
def find_reference(model: TransformersEngine) -> Reference:
    """Return the SentencePiece model of a target's tokenizer; Mistral-7B-v0.1's if it has none.

    >>> find_reference(load("embedded")).size
    32000
    """
    return Reference(model.checkpoint.sentencepiece_file or MISTRAL_V1)


def find_disagreements(
    model: TransformersEngine, reference: Reference, texts: Sequence[str]
) -> list[Disagreement]:
    """Return the texts whose ids differ between a target's tokenizer and its reference.

    >>> find_disagreements(load("embedded"), Reference(MISTRAL_V1), ["Hello world", "日本"])
    []
    """
    with pause_cycle_search():
        encoded = model.tokenizer(texts)["input_ids"]
        pairs = zip(texts, encoded, reference.encode_all(texts), strict=True)
    return [Disagreement(text, ids, expected) for text, ids, expected in pairs if ids != expected]
