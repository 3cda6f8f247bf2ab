"""Compare the token ids of an engine with those of a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class IdDifference:
    """A text that an engine and its reference encode differently."""

    text: str
    engine: list[int]
    reference: list[int]
    special_tokens: bool

    def describe(self) -> str:
        """Return the first difference in one line."""
        special = "with" if self.special_tokens else "without"
        place = next(
            (n for n, pair in enumerate(zip(self.engine, self.reference, strict=False))
             if pair[0] != pair[1]),
            min(len(self.engine), len(self.reference)),
        )  # fmt: skip
        return (
            f"{self.text[:60]!r} has {len(self.engine)} ids on the engine and "
            f"{len(self.reference)} on the reference, {special} special tokens, and they differ "
            f"from number {place}: {self.engine[place : place + 4]}, "
            f"not {self.reference[place : place + 4]}"
        )


def compare_ids(
    engine: Any, reference: Any, texts: Sequence[str], *, special_tokens: bool
) -> list[IdDifference]:
    """Return the texts that an engine and its reference encode differently.

    >>> from probes import load
    >>> compare_ids(load("embedded"), load("embedded"), ["Hello world"], special_tokens=True)
    []
    """
    encode_all = getattr(engine, "encode_all", None)
    if encode_all is not None:
        found = encode_all(texts, add_special_tokens=special_tokens)
    else:
        found = [engine.encode(text, add_special_tokens=special_tokens) for text in texts]
    pairs = zip(texts, found, strict=True)
    return [
        IdDifference(text, ids, own, special_tokens)
        for text, ids in pairs
        if ids != (own := reference.encode(text, add_special_tokens=special_tokens))
    ]
