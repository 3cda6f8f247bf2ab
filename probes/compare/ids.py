"""Differences between the token ids of the corpus that two records keep."""

from __future__ import annotations

from pydantic import JsonValue

from probes.data.tokenizer_texts import corpus
from probes.schema.comparison import ChangedIds, Difference, Outcome
from probes.schema.evidence.words import KeptIds
from probes.schema.record import Check
from probes.schema.recorded_ids import RecordedIds, hash_texts


def find_changed_ids(old: Check, new: Check) -> Difference | None:
    """Return the change of the corpus's ids from one run of a check to another; None without one.

    Only ids of the same texts are compared. The first text whose ids are kept is shown.
    """
    before, after = KeptIds.read(old.values), KeptIds.read(new.values)
    if before is None or after is None or before.corpus_ids.texts != after.corpus_ids.texts:
        return None
    changed = before.corpus_ids.find_changed(after.corpus_ids)
    if not changed:
        return None
    place, count = changed[0], after.corpus_ids.count
    return Difference(
        check=new.name,
        name="ids",
        outcome=Outcome.CHANGED,
        old=_show(before.corpus_ids, place),
        new=_show(after.corpus_ids, place),
        ids=ChangedIds(
            changed=len(changed), texts=count, text=_find_text(after.corpus_ids, place, count)
        ),
    )


def _show(ids: RecordedIds, place: int) -> JsonValue:
    kept = ids.ids_of(place)
    return None if kept is None else " ".join(map(str, kept))


def _find_text(ids: RecordedIds, place: int, count: int) -> str | None:
    """Return a text of the corpus; None where this suite's corpus is another one."""
    step = max(1, len(corpus()) // max(1, count))
    texts = corpus()[::step]
    return texts[place] if hash_texts(texts) == ids.texts else None
