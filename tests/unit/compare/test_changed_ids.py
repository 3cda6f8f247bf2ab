from __future__ import annotations

from probes.compare.evidence import Rounding, find_differences
from probes.data.tokenizer_texts import corpus
from probes.report.text.comparison import describe_difference
from probes.schema.comparison import Difference, Outcome
from probes.schema.evidence.words import KeptIds
from probes.schema.record import Check, ClaimRecord
from probes.schema.recorded_ids import RecordedIds
from tests.support.samples import check, planned

TEXTS = corpus()[::16]
IDS = [[place % 7, place % 11] for place in range(len(TEXTS))]


def claim(ids: list[list[int]], texts: tuple[str, ...] = TEXTS) -> ClaimRecord:
    kept = KeptIds(corpus_ids=RecordedIds.pack(texts, ids))
    values: Check = check(values=kept.as_evidence())
    return planned("recorded-ids").model_copy(update={"verdict": "holds", "evidence": (values,)})


def differences(old: ClaimRecord, new: ClaimRecord) -> list[Difference]:
    return find_differences(old, new, Rounding(noise=1e-6))


def test_equal_ids_are_no_difference() -> None:
    assert differences(claim(IDS), claim(IDS)) == []


def test_changed_ids_name_the_text_and_both_ids() -> None:
    place = RecordedIds.pack(TEXTS, IDS).kept[3]
    other = [*IDS]
    other[place], other[place + 1] = [1, 2, 3], [9]
    (found,) = differences(claim(IDS), claim(other))
    assert found.outcome is Outcome.CHANGED
    assert found.ids is not None
    assert (found.ids.changed, found.ids.texts, found.ids.text) == (2, 2000, TEXTS[place])
    old = " ".join(map(str, IDS[place]))
    said = describe_difference(found)
    assert said.startswith("ids changed of 2 of 2,000 texts; of ")
    assert said.endswith(f" they were {old}, are 1 2 3")
    assert "2,000 件のテキストのうち 2 件で ID が変わった" in describe_difference(found, "ja")


def test_changed_ids_that_are_not_kept_are_counted() -> None:
    other = [*IDS]
    other[RecordedIds.pack(TEXTS, IDS).kept[3] + 1] = [9]
    (found,) = differences(claim(IDS), claim(other))
    assert describe_difference(found) == "ids changed of 1 of 2,000 texts"


def test_ids_of_other_texts_are_not_compared() -> None:
    other = claim([[9]] * len(TEXTS), tuple(f"{text}!" for text in TEXTS))
    assert differences(claim(IDS), other) == []
