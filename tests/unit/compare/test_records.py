from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import probes
from tests.support.samples import record


def test_records_are_compared_by_their_paths(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(record().model_dump_json(), encoding="utf-8")
    found = probes.compare_records(str(path), path)
    assert found == probes.compare_records(record(), record())


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("a", "no record at 'a': name a record.json, a run's folder or a target's folder"),
        (5, "a comparison takes records, or paths of records, not int: probes.read_record "),
        (None, "a comparison takes records, or paths of records, not NoneType: "),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(source: Any, line: str) -> None:
    for pair in ((source, record()), (record(), source)):
        with pytest.raises(probes.UserError) as refused:
            probes.compare_records(*pair)
        assert str(refused.value).startswith(line)
