"""The reference tokenizer: the SentencePiece model a fast tokenizer was converted from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.data.tokenizer_texts import SPECIAL_PIECES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.transformers.engine import TransformersEngine as Model

MISTRAL_V1 = Path(str(files("mistral_common") / "data" / "tokenizer.model.v1"))
"""The SentencePiece model of Mistral-7B-v0.1, as the package mistral-common ships it."""

_NO_PIECE_CROSSES = "\n"
_SHOWN = 6


@dataclass(frozen=True)
class Disagreement:
    """A text on which tokenizer and reference differ."""

    text: str
    ids: list[int]
    reference_ids: list[int]

    def in_words(self) -> str:
        """Where the two part, in one line.

        >>> Disagreement("The capital", [1014, 5565], [1, 415, 5565]).in_words()
        "'The capital' gives [1014, 5565] from position 0 on, not [1, 415, 5565]"
        """
        pairs = enumerate(zip_longest(self.ids, self.reference_ids))
        at = next(position for position, (a, b) in pairs if a != b)
        found, expected = self.ids[at : at + _SHOWN], self.reference_ids[at : at + _SHOWN]
        return f"{self.text!r} gives {found} from position {at} on, not {expected}"


@dataclass(frozen=True)
class Reference:
    """A SentencePiece model, with BOS and spelled special tokens handled as its makers do.

    Attributes:
        file: the SentencePiece model.

    >>> Reference(MISTRAL_V1).encode("The capital of Japan is")
    [1, 415, 5565, 302, 4720, 349]
    """

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
        """Every piece, in the order of ids.

        >>> Reference(MISTRAL_V1).pieces()[:3]
        ['<unk>', '<s>', '</s>']
        """
        return [str(self._processor.id_to_piece(i)) for i in range(self.size)]

    def encode(self, text: str) -> list[int]:
        """Ids with BOS first; a spelled special token becomes its id.

        Only the text's very beginning is encoded as if a space came before it: what follows a
        spelled special token is taken as it stands.

        >>> Reference(MISTRAL_V1).encode("<s> What")
        [1, 1, 1824]
        """
        ids = [int(self._processor.bos_id())]
        for position, part in enumerate(re.split(f"({'|'.join(SPECIAL_PIECES)})", text)):
            if part in SPECIAL_PIECES:
                ids.append(int(self._processor.piece_to_id(part)))
            elif part and position == 0:
                ids += self._processor.encode(part)
            elif part:
                ids += self._without_leading_space(part)
        return ids

    def _without_leading_space(self, part: str) -> list[int]:
        """Encode a part that no space is put before.

        No piece but its own contains a newline, so a newline in front takes the space and merges
        with nothing; its two ids are cut off again.
        """
        leading = self._processor.encode(_NO_PIECE_CROSSES)
        return list(self._processor.encode(_NO_PIECE_CROSSES + part)[len(leading) :])


def reference_of(model: Model) -> Reference:
    """The SentencePiece model a target's tokenizer was made from.

    Raises:
        LookupError: if it has none; `model.explain_missing("sentencepiece")` says so beforehand.

    >>> from probes import load
    >>> reference_of(load("embedded")).size
    32000
    """
    if model.checkpoint.sentencepiece_file is not None:
        return Reference(model.checkpoint.sentencepiece_file)
    return Reference(MISTRAL_V1)


def disagreements(model: Model, reference: Reference, texts: Sequence[str]) -> list[Disagreement]:
    """Texts whose ids differ between a target's tokenizer and its reference.

    Args:
        model: the target; its tokenizer encodes all texts in one call.
        reference: the SentencePiece model.
        texts: what to encode.

    >>> from probes import load
    >>> disagreements(load("embedded"), Reference(MISTRAL_V1), ["Hello world", "日本"])
    []
    """
    encoded = model.tokenizer(texts)["input_ids"]
    pairs = zip(texts, encoded, map(reference.encode, texts), strict=True)
    return [Disagreement(text, ids, expected) for text, ids, expected in pairs if ids != expected]
