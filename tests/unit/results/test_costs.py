from __future__ import annotations

from pathlib import Path

import pytest

from probes.results.costs import read_costs
from probes.schema.record import Record, Verdict
from tests.support import samples


def write(folder: Path, record: Record) -> None:
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(record.model_dump_json(), encoding="utf-8")


def test_costs_are_those_of_the_newest_run_that_decided_a_claim(tmp_path: Path) -> None:
    slow = samples.check().cost.model_copy(update={"seconds": 7.0})
    old = samples.record(
        [("bos-inserted", samples.check(cost=slow)), ("pad-token", samples.check(cost=slow))]
    )
    out = samples.check(verdict=Verdict.NOT_DECIDED)
    new = samples.record([("bos-inserted", samples.check()), ("pad-token", out)])
    write(tmp_path / "embedded" / "20261123T075120Z", old)
    write(tmp_path / "embedded" / "20261124T075120Z", new)
    (tmp_path / "embedded" / "20261125T075120Z").mkdir()
    (tmp_path / "embedded" / "20261125T075120Z" / "record.json").write_text("{")
    found = read_costs(tmp_path, "embedded")
    assert {claim: cost.seconds for claim, cost in found.items()} == {
        "bos-inserted": 0.01,
        "pad-token": 7.0,
    }


@pytest.mark.parametrize("verdict", [Verdict.NOT_APPLICABLE, Verdict.NOT_DECIDED])
def test_claim_that_was_never_decided_has_no_cost(tmp_path: Path, verdict: Verdict) -> None:
    checks = [("bos-inserted", samples.check(verdict=verdict)), ("pad-token", samples.check())]
    write(tmp_path / "embedded" / "20261123T075120Z", samples.record(checks))
    assert [*read_costs(tmp_path, "embedded")] == ["pad-token"]


def test_first_run_on_a_target_has_no_costs(tmp_path: Path) -> None:
    assert read_costs(tmp_path / "reports", "embedded") == {}
