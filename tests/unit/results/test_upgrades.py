from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from probes.results.reading import read
from probes.schema.record import Record, Verdict
from tests.support.samples import check, header, planned, record

FACTS = {"name": "ours", "source": "folder"}


def verdicts(one: Record) -> dict[str, str | None]:
    return {claim.id: claim.verdict and claim.verdict.value for claim in one.claims}


@pytest.fixture
def upgrade(tmp_path: Path) -> Any:
    """Write a record as format 2 did, and read it."""

    def as_format_2(
        target: dict[str, Any], deselected: int = 0, **claims: tuple[str, ...]
    ) -> Record:
        plan = header(
            *(planned(claim.replace("_", "-"), checks=len(c)) for claim, c in claims.items())
        )
        made = [
            (claim.replace("_", "-"), check(name, Verdict(verdict), reason=verdict))
            for claim, checks in claims.items()
            for name, verdict in (each.split(": ") for each in checks)
        ]
        data = json.loads(record(made, plan).model_dump_json())
        for claim in data["claims"]:
            del claim["kind"], claim["expected"]
            claim["deselected"] = deselected
            if claim["id"] in ("next-token", "mine"):
                claim["needs"] = ["model", "knowledge"]
        path = tmp_path / "record.json"
        path.write_text(json.dumps(data | {"schema_version": 2, "target": target}))
        return read(path)

    return as_format_2


def test_failing_observation_was_not_observed_without_knowledge(upgrade: Any) -> None:
    found = upgrade(
        FACTS,
        greedy_repeats=("a: fails",),
        top_k=("a: fails",),
        next_token=("a: not applicable",),
        heat_varies=("a: holds", "b: error"),
    )
    assert verdicts(found) == {
        "greedy-repeats": "not observed",
        "top-k": "fails",
        "next-token": "not applicable",
        "heat-varies": "error",
    }
    assert [(claim.kind.value, claim.expected) for claim in found.claims[:2]] == [
        ("observation", False),
        ("contract", True),
    ]
    assert found.claims[0].evidence[0].verdict.value == "not observed"


@pytest.mark.parametrize(
    ("target", "claims"),
    [
        (FACTS, {"next_token": ("a: holds",)}),
        (FACTS, {"mine": ("a: holds",)}),
        ({"name": "embedded", "source": "embedded"}, {}),
        ({"name": "m", "source": "hub", "repository": "mistralai/Mistral-7B-v0.1"}, {}),
    ],
)
def test_observation_failed_on_a_target_that_knew(
    upgrade: Any, target: dict[str, Any], claims: dict[str, tuple[str, ...]]
) -> None:
    found = upgrade(target, greedy_repeats=("a: fails",), **claims)
    assert verdicts(found)["greedy-repeats"] == "fails"
    assert found.claims[0].expected


def test_own_claim_that_needed_knowledge_is_an_observation(upgrade: Any) -> None:
    found = upgrade(FACTS, mine=("a: not applicable",))
    assert (found.claims[0].kind.value, found.claims[0].expected) == ("observation", False)


def test_error_beside_a_failing_observation_stays_an_error(upgrade: Any) -> None:
    found = upgrade(FACTS, heat_varies=("a: fails", "b: error"))
    (claim,) = found.claims
    assert (claim.verdict.value, claim.reason) == ("error", "error")
    assert [each.verdict.value for each in claim.evidence] == ["not observed", "error"]


def test_closeness_in_nf4_becomes_a_claim_of_its_own(upgrade: Any) -> None:
    found = upgrade(FACTS, load_nf4=("test_bytes: holds", "test_4_bit_logits_stay_close: fails"))
    assert verdicts(found) == {"load-nf4": "holds", "quantization-cost": "not observed"}
    assert [claim.planned for claim in found.claims] == [1, 1]
    assert found.complete


def test_claim_that_is_split_keeps_its_deselected_checks(upgrade: Any) -> None:
    found = upgrade(
        FACTS, deselected=3, load_nf4=("test_bytes: holds", "test_4_bit_logits_stay_close: holds")
    )
    assert [(claim.id, claim.deselected) for claim in found.claims] == [
        ("load-nf4", 3),
        ("quantization-cost", 0),
    ]
