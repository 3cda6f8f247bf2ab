"""The token ids of the corpus: as the tokenizer gives them, and as its own file says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probes._util.garbage import pause_cycle_search
from probes.data.tokenizer_texts import corpus, kind_of
from probes.engines.session_cache import once_per_session
from probes.measure.sentencepiece_reference import Disagreement
from probes.measure.spelling import load_own_tokenizer
from probes.schema.recorded_ids import RecordedIds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.transformers.engine import TransformersEngine
    from probes.measure.sentencepiece_reference import Reference

STEP, SLOW_STEP = 1, 8
"""One of so many texts is encoded; a tokenizer written in Python would take minutes for all."""


@dataclass(frozen=True)
class CorpusEncoding:
    """Texts of the corpus with their token ids, special tokens left out."""

    texts: Sequence[str]
    ids: list[list[int]]
    step: int
    """One of so many texts of the corpus is encoded."""

    def kind(self, place: int) -> str:
        """Return the kind of a text by its place."""
        return kind_of(place * self.step)


@once_per_session
def encode_corpus(model: TransformersEngine) -> CorpusEncoding:
    """Encode the corpus in one batch, once a session.

    >>> encoding = encode_corpus(load("embedded"))
    >>> len(encoding.ids), encoding.step
    (32000, 1)
    """
    step = STEP if getattr(model.tokenizer, "is_fast", False) else SLOW_STEP
    texts = corpus()[::step]
    return CorpusEncoding(texts, encode_all(model, texts), step)


def encode_all(model: TransformersEngine, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of texts, special tokens left out, encoded in one batch."""
    with pause_cycle_search():
        encoded: Any = model.tokenizer(list(texts), add_special_tokens=False)
        return [list(map(int, row)) for row in encoded["input_ids"]]


@dataclass(frozen=True)
class Agreement:
    """How many texts have the ids that the tokenizer's own file says, and which do not."""

    texts: int
    differing: list[Disagreement]
    """The five shortest of the first hundred that differ."""
    by_kind: dict[str, int]
    """How many differ, by the kind of text."""

    @property
    def count(self) -> int:
        """How many texts differ."""
        return sum(self.by_kind.values())

    def describe(self) -> str:
        """Describe how many texts differ, of what kinds, and the first."""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.by_kind.items())
        return (
            f"{self.count:,} of {self.texts:,} texts get other ids than tokenizer.json gives "
            f"({kinds}): {self.differing[0].describe()}"
        )


def compare_with_own_file(model: TransformersEngine) -> Agreement:
    """Compare the corpus's ids with those that tokenizer.json gives, read without transformers.

    >>> compare_with_own_file(load("embedded")).count
    0
    """
    own, encoding = load_own_tokenizer(model), encode_corpus(model)
    # Without the offsets of pieces, where the installed version can leave them out.
    encode = getattr(own, "encode_batch_fast", own.encode_batch)
    expected = encode(list(encoding.texts), add_special_tokens=False)
    differing, kinds = [], Counter[str]()
    for place, (ids, reference) in enumerate(zip(encoding.ids, expected, strict=True)):
        if ids != (own_ids := reference.ids):
            kinds[encoding.kind(place)] += 1
            differing.append(Disagreement(encoding.texts[place], ids, list(own_ids)))
    shortest = sorted(differing[:100], key=lambda each: len(each.text))
    return Agreement(len(encoding.texts), shortest[:5], dict(kinds))


def compare_with_sentencepiece(
    model: TransformersEngine, reference: Reference
) -> tuple[int, list[Disagreement]]:
    """Return how many texts of the corpus were compared with a reference, and those that differ.

    >>> from probes.measure.sentencepiece_reference import find_reference
    >>> model = load("embedded")
    >>> compare_with_sentencepiece(model, find_reference(model))
    (32000, [])
    """
    encoding = encode_corpus(model)
    expected = (ids[1:] for ids in reference.encode_all(encoding.texts))  # without its BOS
    triples = zip(encoding.texts, encoding.ids, expected, strict=True)
    return len(encoding.texts), [Disagreement(*each) for each in triples if each[1] != each[2]]


def record_ids(model: TransformersEngine) -> RecordedIds:
    """Return the corpus's ids in the form that is recorded.

    >>> record_ids(load("embedded")).count
    32000
    """
    encoding = encode_corpus(model)
    return RecordedIds.pack(encoding.texts, encoding.ids)


def describe_change(encoding: CorpusEncoding, old: RecordedIds, now: RecordedIds) -> str:
    """Describe which texts have other ids than those recorded; empty where none has."""
    changed = old.find_changed(now)
    if not changed:
        return ""
    place = changed[0]
    recorded = old.ids_of(place)
    text = Disagreement(encoding.texts[place], encoding.ids[place], list(recorded or ()))
    first = (
        f"{text.text!r} gives {text.ids}; its recorded ids are not kept"
        if recorded is None
        else text.describe()
    )
    return f"ids changed of {len(changed):,} of {now.count:,} texts: {first}"


def find_batch_dependence(model: TransformersEngine, texts: int = 500) -> list[Disagreement]:
    """Return texts whose ids in a batch differ from those of the text alone.

    >>> find_batch_dependence(load("embedded"))
    []
    """
    encoding = encode_corpus(model)
    places = range(0, len(encoding.texts), max(1, len(encoding.texts) // texts))
    alone = {p: model.encode(encoding.texts[p], add_special_tokens=False) for p in places}
    return [
        Disagreement(encoding.texts[place], ids, encoding.ids[place])
        for place, ids in alone.items()
        if ids != encoding.ids[place]
    ]
