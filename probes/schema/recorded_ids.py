"""The token ids of many texts, in a form that is small enough to be kept and compared.

A digest says whether any text has other ids, two bytes a text say which, and the ids of some texts
are kept in full, so that a difference can be shown.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from pydantic import model_validator

from probes.schema.base import Stored

KEPT = 200
"""How many texts' ids are kept in full, spread evenly over all."""

_MARK = 2  # bytes a text


class RecordedIds(Stored):
    """The token ids of a list of texts."""

    texts: str
    """SHA-256 of the texts, in hex: only ids of the same texts are compared."""
    digest: str
    """SHA-256 of all ids, in hex."""
    marks: str
    """The first two bytes of the SHA-256 of each text's ids, in base64."""
    kept: tuple[int, ...]
    """Places, in the list, of the texts whose ids are kept."""
    kept_ids: tuple[tuple[int, ...], ...]
    """Their token ids, without special tokens."""

    @model_validator(mode="after")
    def _check_lengths(self) -> RecordedIds:
        if len(self.kept) != len(self.kept_ids):
            raise ValueError("kept and kept_ids differ in length")
        base64.b64decode(self.marks, validate=True)
        return self

    @classmethod
    def pack(cls, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> RecordedIds:
        """Keep the ids of texts.

        >>> packed = RecordedIds.pack(["a", "b"], [[5], [7, 8]])
        >>> packed.count, packed.kept_ids
        (2, ((5,), (7, 8)))
        """
        kept = tuple(range(0, len(texts), max(1, len(texts) // KEPT)))
        hashes = [hashlib.sha256(_spell(row)).digest() for row in ids]
        return cls(
            texts=hash_texts(texts),
            digest=hashlib.sha256(b"".join(hashes)).hexdigest(),
            marks=base64.b64encode(b"".join(each[:_MARK] for each in hashes)).decode(),
            kept=kept,
            kept_ids=tuple(tuple(ids[place]) for place in kept),
        )

    @property
    def count(self) -> int:
        """How many texts there are."""
        return len(base64.b64decode(self.marks)) // _MARK

    def ids_of(self, place: int) -> tuple[int, ...] | None:
        """Return the ids of a text by its place; None where they are not kept."""
        return self.kept_ids[self.kept.index(place)] if place in self.kept else None

    def find_changed(self, other: RecordedIds) -> list[int]:
        """Return the places of texts that have other ids, those whose ids are kept first.

        Where the digests differ and no text's two bytes do, all texts are under suspicion: the list
        is then of all.

        >>> old = RecordedIds.pack(["a", "b"], [[5], [7, 8]])
        >>> old.find_changed(RecordedIds.pack(["a", "b"], [[5], [7, 9]]))
        [1]
        """
        if self.digest == other.digest:
            return []
        mine, theirs = base64.b64decode(self.marks), base64.b64decode(other.marks)
        places = range(min(len(mine), len(theirs)) // _MARK)
        found = [
            place
            for place in places
            if mine[_MARK * place : _MARK * (place + 1)]
            != theirs[_MARK * place : _MARK * (place + 1)]
        ] or [*places]
        kept = {*self.kept} & {*other.kept}
        return sorted(found, key=lambda place: (place not in kept, place))


def hash_texts(texts: Sequence[str]) -> str:
    """Return the SHA-256 of texts, in hex."""
    joined = "\0".join(texts)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()


def _spell(ids: Sequence[int]) -> bytes:
    return ",".join(map(str, ids)).encode()
