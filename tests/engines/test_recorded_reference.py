"""A record as the reference: what it decides without the weights, and what it leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from probes import load
from probes.data.tokenizer_texts import PROMPTS, STORIES
from probes.engines.recorded import RecordedReference
from probes.errors import UndecidableError, UserError
from probes.measure.engine_ids import compare_ids
from probes.measure.engine_logprobs import compare_logprobs
from probes.measure.engine_texts import compare_with_reference, vary_requests
from probes.measure.greedy import generate_greedy
from probes.measure.recorded_outputs import record_text
from probes.measure.reference_prompts import load_reference_prompts, measure_logprobs
from probes.measure.tokenizer_corpus import record_ids
from probes.plugin.session import choose_targets
from probes.schema.claim import catalogue
from probes.schema.evidence.distributions import KeptPrompts
from probes.schema.evidence.texts import KeptTexts
from probes.schema.evidence.words import KeptIds
from probes.schema.record import Check, ClaimRecord, Environment, Record, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from probes.schema.evidence.shape import Shape


def make_record(*evidence: Shape) -> Record:
    claim = catalogue()["greedy-deterministic"].model_dump()
    checks = [Check(name="a", verdict=Verdict.HOLDS, values=e.as_evidence()) for e in evidence]
    return Record(
        suite="0",
        started="2026-01-01T00:00:00Z",
        target=load("embedded").facts(),
        environment=Environment(python="3", platform="Linux", packages={}),
        claims=(ClaimRecord(**claim, evidence=tuple(checks)),),
    )


@pytest.fixture(scope="module")
def record() -> Record:
    model = load("embedded")
    prompts = load_reference_prompts()["English"][:4]
    kept = measure_logprobs(model, prompts)
    texts = [record_text(text) for text in generate_greedy(model, PROMPTS, 20)]
    return make_record(
        KeptPrompts(kept_prompts=kept.prompts, noise=kept.noise, tolerance=kept.tolerance),
        KeptTexts(kept_texts=texts),
        KeptIds(corpus_ids=record_ids(model)),
    )


@pytest.fixture(scope="module")
def reference(record: Record) -> RecordedReference:
    return RecordedReference(record)


def test_same_model_agrees_with_its_record(reference: RecordedReference) -> None:
    model = load("embedded")
    assert len(reference.texts_with_ids) > 180
    assert not compare_ids(model, reference, [*reference.texts_with_ids], special_tokens=False)
    assert not compare_ids(model, reference, [*reference.prompts], special_tokens=True)
    found = compare_logprobs(model, reference, PROMPTS, 20)
    assert len(found.steps) > 10
    assert found.largest_change <= found.tolerance < 0.01
    pairs = compare_with_reference(model, reference, PROMPTS, 20)
    assert [pair.step for pair in pairs] == [None] * len(PROMPTS)
    assert all(pair.step is None for pair in vary_requests(model, reference, PROMPTS, 4))


def test_other_precision_is_seen(reference: RecordedReference) -> None:
    model = load("embedded").variant(dtype="bfloat16")
    found = compare_logprobs(model, reference, PROMPTS, 20)
    assert found.largest_change > 10 * found.tolerance


def test_margin_is_read_from_the_recorded_text(reference: RecordedReference) -> None:
    text = reference.texts[STORIES[1]]
    start = [*text.prompt_ids, *text.ids[:3]]
    row = reference.logits_batch([start])[0][-1]
    assert int(row.argmax()) == text.ids[3]
    assert float(row.min()) == pytest.approx(text.top_logits[3][-1])


def test_what_a_record_lacks_is_named(reference: RecordedReference) -> None:
    with pytest.raises(UndecidableError, match="without the logits along this text"):
        reference.logits_batch([[1, 2, 3]])
    with pytest.raises(UndecidableError, match="without the ids of 'other'"):
        reference.encode("other")
    with pytest.raises(UndecidableError, match="its reference is a record, which has no network"):
        _ = reference.network


def test_empty_record_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(make_record().model_dump_json())
    session = choose_targets(["embedded"], reference=str(file))
    with pytest.raises(UserError, match="holds nothing that an engine is compared with: decide"):
        session.prepare(session.targets)
    session = choose_targets(["embedded"], reference=str(tmp_path / "no" / "record.json"))
    with pytest.raises(UserError, match=r"no.record\.json"):
        session.prepare(session.targets)
