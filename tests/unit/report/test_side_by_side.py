"""The pictures of all targets on the list of runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from probes.report.files import INDEX_FILE, refresh_index
from probes.report.locale import LANGUAGES, texts
from probes.report.pictures.side_by_side import MOST_TARGETS
from probes.results.index import list_runs
from probes.results.newest import read_newest
from tests.support.measured_runs import measured, write_measured
from tests.support.samples import HOSTILE


def read_pictures(report_dir: Path) -> dict[str, str]:
    """The figures of the page, by their English titles."""
    refresh_index(report_dir)
    page = (report_dir / INDEX_FILE).read_text(encoding="utf-8")
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    return {re.findall(r'<span lang="en">(.*?)</span>', each)[0]: each for each in figures}


def colours_of(figure: str, target: str) -> set[str]:
    return set(re.findall(rf'fill="var\(--(series-\d)\)"[^>]*>{target}</text>', figure))


def test_each_subject_has_a_picture_in_every_language(tmp_path: Path) -> None:
    write_measured(tmp_path, "ours", 1, measured())
    figures = read_pictures(tmp_path)
    titles = [key for key in texts("en") if re.fullmatch(r"pictures\.sides-\w+\.title", key)]
    assert [*figures] == [texts("en")[key] for key in titles]
    for language in LANGUAGES:
        for key, figure in zip(titles, figures.values(), strict=True):
            assert texts(language)[key] in figure
    tokens = figures["Tokens per character, by script"]
    for shown in ("Japanese", "日本語", "Runic", "ours, Japanese: 1.09", "ours, Runic: 2.00"):
        assert shown in tokens
    assert "ours: ○ 1.0 %, ● 50.0 %" in figures["Repetition in long texts"]
    assert "nf4: 4.0 MB, 0.05 (0.04 … 0.06)" in figures["Quality against bytes"]
    assert "Not measured" not in "".join(figures.values())


def test_target_has_one_colour_in_every_picture(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write_measured(tmp_path, name, 1, measured())
    figures = read_pictures(tmp_path).values()
    assert len(figures) == 6
    colours = {
        name: set[str]().union(*(colours_of(figure, name) for figure in figures))
        for name in ("one", "two", "three")
    }
    assert all(len(each) == 1 for each in colours.values())
    assert len(set[str]().union(*colours.values())) == 3


def test_picture_names_the_targets_without_its_numbers(tmp_path: Path) -> None:
    write_measured(tmp_path, "whole", 1, measured())
    write_measured(tmp_path, "part", 1, {"round-trip": measured()["round-trip"]})
    write_measured(
        tmp_path, HOSTILE.replace("/", "_")[:20], 1, {"pad-token": [("test_it", {"id": 1})]}
    )
    lacking = {
        title: re.findall(r"Not measured on: (.*?)\.</span>", figure)
        for title, figure in read_pictures(tmp_path).items()
    }
    ((repetition,), (tokens,)) = (
        lacking[title] for title in ("Repetition in long texts", "Tokens per character, by script")
    )
    assert "&lt;" in repetition
    assert "&lt;" in tokens
    assert ("part" in repetition, "part" in tokens) == (True, False)


def test_run_of_a_few_claims_hides_no_earlier_number(tmp_path: Path) -> None:
    write_measured(tmp_path, "ours", 1, measured(0.5))
    write_measured(tmp_path, "ours", 2, {"greedy-repeats": measured(0.25)["greedy-repeats"]})
    found = read_newest(tmp_path, list_runs(tmp_path), ["greedy-repeats", "knowledge-dose"])
    (repeats,), doses = found["ours"]["greedy-repeats"], found["ours"]["knowledge-dose"]
    assert repeats.values["greedy_distinct"] == 0.25
    assert [dose.name for dose in doses] == ["test_it[0.2]", "test_it[0.9]"]


def test_more_targets_than_colours_leave_out_the_oldest(tmp_path: Path) -> None:
    for number in range(MOST_TARGETS + 2):
        write_measured(tmp_path, f"t{number}", 20 - number, measured(number / 20))
    figures = read_pictures(tmp_path)
    page = (tmp_path / INDEX_FILE).read_text(encoding="utf-8")
    assert "Not shown, because they ran longest ago: t8, t9." in re.sub(r"<.*?>", "", page)
    assert all("t7" in each and "t8" not in each for each in figures.values())
    assert {f"series-{n + 1}" for n in range(8)} <= set(re.findall(r"series-\d", page))


@pytest.mark.parametrize(
    "values",
    [{"tokens_by_script": []}, {"tokens_by_script": "many"}, {"tokens_by_script": [{}] * 3}],
)
def test_strange_evidence_makes_no_picture(tmp_path: Path, values: dict[str, Any]) -> None:
    write_measured(tmp_path, "ours", 1, {"round-trip": [("test_it", values)]})
    assert read_pictures(tmp_path) == {}


def test_evidence_of_an_older_format_is_drawn(tmp_path: Path) -> None:
    write_measured(tmp_path, "ours", 1, measured())
    (file,) = tmp_path.glob("*/*/record.json")
    stored = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(stored | {"schema_version": 2}), encoding="utf-8")
    assert len(read_pictures(tmp_path)) == 6
