"""The command that compares the claims' cost with trying by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.cost import list_cells, main
from tests.support import samples


def test_cells_by_hand_stay_the_published_ones() -> None:
    cells = list_cells()
    assert (len(cells), sum(new_tokens for *_, new_tokens in cells)) == (53, 1440)


def test_record_lists_dearest_claims_and_those_that_do_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    path.write_text(samples.mixed().model_dump_json(), encoding="utf-8")
    assert main(["--record", str(path)]) == 0
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert first == "the dearest of 8 claims on embedded, sum of their checks"
    assert second.split() == [
        *("bos-inserted", "(33%)", "0.0", "s", "3", "passes", "3", "rows", "18", "positions")
    ]
    assert "note: not decided: embedding-shape: stopped after 0 of 1 checks" in rest
    notes = [line.split(": ")[1] for line in rest if line.startswith("note: ")]
    assert notes == [
        "fails",
        "error",
        "not decided",
        "not observed",
        "1 of 8 claims are not applicable",
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [(["--target", "embeded"], "no target 'embeded'"), (["--record", "nowhere"], "no record at")],
)
def test_wrong_input_gets_one_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"cost: {problem}")
