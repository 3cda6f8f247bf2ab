from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.results.folding import decide_verdict, fold_record
from probes.schema.record import Cost, Record, Verdict, build_json_schema, count_verdicts
from tests.support.samples import ENVIRONMENT, FINISHED, LOADED, check, header, record

SCHEMA_FILE = Path(__file__).parents[3] / "docs" / "record.schema.json"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(st.characters()), json_values))
def test_any_evidence_is_read_back_unchanged(values: dict[str, object]) -> None:
    before = record([("bos-inserted", check(values=values))])
    after = Record.model_validate_json(before.model_dump_json())
    assert after == before


def test_non_finite_numbers_are_written_as_text() -> None:
    values = {"a": float("nan"), "b": [float("inf")], "c": {"d": float("-inf")}}
    text = record([("bos-inserted", check(values=values))]).model_dump_json()
    stored = json.loads(text, parse_constant=pytest.fail)["claims"][0]["evidence"][0]["values"]
    assert stored == {"a": "NaN", "b": ["Infinity"], "c": {"d": "-Infinity"}}


@pytest.mark.parametrize(
    ("verdicts", "planned_checks", "expected"),
    [
        (["holds", "holds"], 2, (Verdict.HOLDS, "")),
        (["holds", "fails", "error"], 3, (Verdict.FAILS, "because fails")),
        (["holds", "error"], 2, (Verdict.ERROR, "because error")),
        (["fails"], 5, (Verdict.FAILS, "because fails")),
        (["holds", "not observed"], 3, (Verdict.NOT_OBSERVED, "because not observed")),
        (["not observed", "error"], 2, (Verdict.ERROR, "because error")),
        (["holds"], 2, (None, "stopped after 1 of 2 checks")),
        (["holds", "not decided"], 2, (Verdict.NOT_DECIDED, "because not decided")),
        (["not decided", "fails"], 2, (Verdict.FAILS, "because fails")),
        (["not decided", "not applicable"], 2, (Verdict.NOT_DECIDED, "because not decided")),
        (["not applicable"], 1, (Verdict.NOT_APPLICABLE, "because not applicable")),
        (["not applicable", "holds"], 2, (Verdict.HOLDS, "")),
        ([], 0, (Verdict.NOT_APPLICABLE, "no check was made")),
    ],
)
def test_verdict_follows_from_the_checks(
    verdicts: list[str], planned_checks: int, expected: tuple[Verdict | None, str]
) -> None:
    checks = [check(verdict=Verdict(v), reason=f"because {v}\nand more") for v in verdicts]
    assert decide_verdict(checks, planned_checks) == expected


def test_finished_run_with_all_checks_is_complete() -> None:
    whole = record()
    assert whole.complete
    assert count_verdicts(whole.claims) == {Verdict.HOLDS: 2}
    assert whole.cost == Cost(seconds=0.02, forward_passes=2, rows=2, tokens=12)


def test_stopped_run_is_incomplete() -> None:
    for part in (record([("bos-inserted", check())], finished=f) for f in (FINISHED, None)):
        assert not part.complete
        assert [claim.verdict for claim in part.claims] == [Verdict.HOLDS, None]
    assert not record(finished=None).complete


def test_check_of_an_unplanned_claim_is_kept() -> None:
    late = record([("bos-inserted", check()), ("surprise", check())]).claims[-1]
    assert (late.id, late.section, len(late.evidence)) == ("surprise", "Claims of your own", 1)


def test_unknown_facts_never_replace_known_ones() -> None:
    threads = ENVIRONMENT.model_copy(update={"threads": 2, "workers": 4})
    folded = fold_record(header(), [(LOADED, threads), (header().target, ENVIRONMENT)])
    assert folded.target == LOADED
    assert folded.environment == threads


def test_all_devices_of_workers_are_listed() -> None:
    facts = [(LOADED.model_copy(update={"device": d}), ENVIRONMENT) for d in ("cuda:1", "cuda:0")]
    assert fold_record(header(), facts).target.device == "cuda:0, cuda:1"


def without_enum_beside_const(node: Any) -> Any:
    """Return the schema as newer versions of pydantic write it; older ones repeat a constant."""
    if isinstance(node, list):
        return [without_enum_beside_const(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: without_enum_beside_const(item)
        for key, item in node.items()
        if not (key == "enum" and "const" in node)
    }


def test_schema_in_the_docs_is_current() -> None:
    stored = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    made = without_enum_beside_const(json.loads(json.dumps(build_json_schema())))
    assert made == stored, "run: probes schema > docs/record.schema.json"


def test_every_key_is_explained_in_schema_and_docs() -> None:
    page = SCHEMA_FILE.with_name("record.md").read_text(encoding="utf-8")
    models = {"Record": build_json_schema(), **build_json_schema()["$defs"]}  # type: ignore[dict-item]
    for name, model in models.items():
        for key, described in model.get("properties", {}).items():  # type: ignore[attr-defined]
            assert "description" in described, f"{name}.{key} has no description"
            assert f"`{key}`" in page, f"{name}.{key} is missing in docs/record.md"
