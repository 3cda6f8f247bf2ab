from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probes.errors import UserError
from probes.schema.claim import catalogue
from probes.schema.record import Record, Verdict
from probes.upgrade import view
from probes.upgrade.cells import combine, find_varying, format_cell, parse_versions
from probes.upgrade.environments import find_reason
from probes.upgrade.expected import Expectation, read_expectations
from probes.upgrade.pool import count_fitting
from probes.upgrade.run import Attempt, End, Outcome, classify_end
from probes.upgrade.table import Table, build_tables
from tests.support.page_reader import Page
from tests.support.samples import ENVIRONMENT, HOSTILE, check, header, planned, record

Content = dict[str, tuple[Verdict, str] | Verdict | None] | str
Build = Callable[..., Table]

HOLDS, FAILS, NOT_APPLICABLE = Verdict.HOLDS, Verdict.FAILS, Verdict.NOT_APPLICABLE


def expect(**more: Any) -> Expectation:
    fields = {
        "claims": ["default-length"],
        "package": "transformers",
        "versions": "<4.47",
        "verdict": "fails",
        "source": "measured",
        "because": "The prompt was counted.",
    }
    return Expectation.model_validate(fields | more)


def make_record(version: str, content: dict[str, Any]) -> Record:
    """Make a run with one check a claim; a claim with None is not decided.

    A claim with a verdict, a reason and evidence is an observation.
    """
    pairs = {
        claim: given if isinstance(given, tuple) else (given, "")
        for claim, given in content.items()
    }
    run = record(
        [
            (c, check(verdict=v or HOLDS, reason=why, values=values[0] if values else {}))
            for c, (v, why, *values) in pairs.items()
        ],
        plan=header(
            *(
                planned(c, kind="observation" if len(p) > 2 else "contract")
                for c, p in pairs.items()
            )
        ),
        environment=ENVIRONMENT.model_copy(update={"packages": {"transformers": version}}),
    )
    claims = [each.model_copy(update={"verdict": pairs[each.id][0]}) for each in run.claims]
    return run.model_copy(update={"claims": tuple(claims)})


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build a table by version; a text in the place of verdicts is why it was not installed."""

    def call(columns: dict[str, Content], *expectations: Expectation) -> Table:
        cells = combine([("transformers", tuple(columns)), ("torch", ("2.13.0",))], ["3.11"])
        outcomes = []
        for cell, (version, content) in zip(cells, columns.items(), strict=True):
            if isinstance(content, str):
                attempt = Attempt(target="embedded", end=End.NOT_INSTALLED, reason=content)
                outcomes.append(Outcome(cell=cell, attempts=(attempt,)))
                continue
            (tmp_path / version).mkdir()
            text = make_record(version, content).model_dump_json()
            (tmp_path / version / "record.json").write_text(text, encoding="utf-8")
            attempt = Attempt(target="embedded", end=End.RAN, run=version, seconds=61)
            outcomes.append(Outcome(cell=cell, attempts=(attempt,), setup_seconds=8))
        (table,) = build_tables(outcomes, tmp_path, expectations)
        return table

    return call


def read_rows(table: Table) -> dict[str, list[str]]:
    return {row.claim: [view.format_entry(entry) for entry in row.entries] for row in table.rows}


# --- cells ---------------------------------------------------------------------------------------


def test_every_combination_of_versions_is_a_cell() -> None:
    found = combine([("a", ("1", "2")), ("b", ("3", "4")), ("c", ("",))], ["3.10", "3.11"])
    assert [cell.name for cell in found[:2]] == ["a-1_b-3_c_python-3.10", "a-1_b-4_c_python-3.10"]
    assert len({cell.name for cell in found}) == 8
    assert found[0].requirements == ["a==1", "b==3", "c"]
    assert find_varying(found) == ("a", "b", "python")
    assert format_cell(found[-1], find_varying(found)) == "a 2, b 4, python 3.11"


def test_names_are_normalized_and_versions_unique() -> None:
    found = parse_versions("Huggingface_Hub==1.0,1.0 ,latest")
    assert found == ("huggingface-hub", ("1.0", "latest"))
    assert parse_versions("protobuf") == ("protobuf", ("",))


def test_cells_at_once_fit_memory_and_cores() -> None:
    gib = 2**30
    assert count_fitting(cells=3, cores=64, available=100 * gib) == 3
    assert count_fitting(cells=9, cores=4, available=100 * gib) == 2
    assert count_fitting(cells=9, cores=64, available=7 * gib) == 2
    assert count_fitting(cells=0, cores=1, available=0) == 1


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "found"),
    [
        (0, "", (End.RAN, "")),
        (5, "", (End.RAN, "")),
        (4, "x\nERROR: no target 'y'\n\n", (End.REFUSED, "no target 'y'")),
        (2, "a\nb\n", (End.CRASHED, "exit code 2: b")),
        (3, "INTERNALERROR> ValueError: c\nd", (End.CRASHED, "exit code 3: ValueError: c")),
        (-250, "", (End.CRASHED, "it was ended by signal 250")),
        (None, "", (End.TIMED_OUT, "it did not end within 2 minutes")),
    ],
)
def test_end_of_a_run_is_classified(code: int | None, text: str, found: tuple[End, str]) -> None:
    assert classify_end(code, text, 120.0) == found


def test_uvs_reason_is_one_line_without_secrets() -> None:
    text = "  × No solution found:\n  ╰─▶ Because a==9 is not\n      there, no.\n\nhint: try b\n"
    assert find_reason(text) == "Because a==9 is not there, no."
    text = "error: cannot reach https://me:pw@a.example/s\n"
    assert find_reason(text) == "cannot reach https://a.example/s"
    assert find_reason("error: " + "x" * 400) == "x" * 300 + "… (cut: 400 characters)"


# --- what is expected ----------------------------------------------------------------------------


def test_expected_verdicts_name_known_claims_and_sources() -> None:
    assert read_expectations()
    for each in read_expectations():
        assert set(each.claims) <= set(catalogue())
        assert each.source == "measured" or each.source.startswith("https://")
        assert each.because.endswith(".")


@pytest.mark.parametrize(
    ("version", "fields", "applies"),
    [
        ("4.46.3", {}, True),
        ("4.46.0rc1", {}, True),
        ("4.47.0", {}, False),
        ("not a version", {}, False),
        ("4.46.3", {"package": "torch"}, False),
        ("4.46.3", {"target": "embedded", "device": "cpu"}, True),
        ("4.46.3", {"target": "another"}, False),
        ("4.46.3", {"device": "cuda"}, False),
    ],
)
def test_expectation_applies_to_its_versions_target_and_device(
    version: str, fields: dict[str, str], applies: bool
) -> None:
    run = make_record(version, {"default-length": FAILS})
    assert expect(**fields).applies_to("default-length", run) is applies
    assert not expect(**fields).applies_to("pad-token", run)


def test_expected_file_without_versions_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "expected.toml"
    fields = expect().model_dump(mode="json", exclude_none=True) | {"versions": "before 5"}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in fields.items())
    file.write_text(f"[[expected]]\n{lines}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"'before 5' names no versions: write such as '<4.47'$"):
        read_expectations(file)


# --- the table -----------------------------------------------------------------------------------


def test_expected_flip_is_marked_and_green(build: Build) -> None:
    table = build(
        {
            "4.46.3": {"default-length": (FAILS, "14, not 20"), "pad-token": HOLDS},
            "4.57.6": {"default-length": HOLDS, "pad-token": HOLDS},
            "5.0.0": {"default-length": HOLDS, "pad-token": HOLDS},
        },
        expect(),
    )
    assert read_rows(table) == {
        "default-length": ["fails, expected", "holds, flip", "holds"],
        "pad-token": ["holds", "holds", "holds"],
    }
    assert not table.unexpected
    assert table.flips == 1
    assert view.format_same(table) == "The same in every column: 1 claim holds."
    assert view.list_reasons(table) == [
        "default-length: fails with transformers 4.46.3: 14, not 20"
    ]


def test_claims_with_one_reason_share_a_line(build: Build) -> None:
    failing = (FAILS, "no GPU")
    all_three = {"default-length": failing, "pad-token": failing, "load-nf4": failing}
    table = build({"4.46.3": all_three, "5.0.0": all_three | {"pad-token": HOLDS}})
    assert view.list_reasons(table) == [
        "default-length, load-nf4: fails with transformers 4.46.3; transformers 5.0.0: no GPU",
        "pad-token: fails with transformers 4.46.3: no GPU",
    ]


def test_unexpected_pass_is_as_red_as_a_failure(build: Build) -> None:
    table = build(
        {
            "4.46.3": {"default-length": HOLDS, "pad-token": FAILS},
            "5.0.0": {"default-length": HOLDS, "pad-token": HOLDS},
        },
        expect(),
    )
    assert read_rows(table) == {
        "default-length": ["holds, not as expected", "holds"],
        "pad-token": ["fails, unexpected", "holds, unexpected flip"],
    }
    assert table.unexpected == 3


def test_column_that_did_not_run_is_skipped_in_comparisons(build: Build) -> None:
    table = build(
        {
            "4.46.3": {"pad-token": HOLDS},
            "9.9.9": "there is no version",
            "5.0.0": {"pad-token": NOT_APPLICABLE},
        }
    )
    assert read_rows(table) == {"pad-token": ["holds", "·", "not applicable, unexpected flip"]}
    assert [column.label for column in table.failed] == ["transformers 9.9.9"]
    assert view.format_headline([table]) == (
        "Runs that did not finish: 1. Unexpected verdicts: 1. "
        "Verdicts that differ from the column before: 1."
    )


def test_undecided_claim_is_unexpected_but_no_flip(build: Build) -> None:
    table = build(
        {"4.46.3": {"pad-token": HOLDS}, "5.0": {"pad-token": None}, "5.1": {"pad-token": HOLDS}}
    )
    assert read_rows(table) == {"pad-token": ["holds", "not decided, unexpected", "holds"]}


@pytest.mark.parametrize(("share", "shown"), [(0.45, ""), (0.2, ", unexpected flip")])
def test_observation_near_the_line_is_no_flip(build: Build, share: float, shown: str) -> None:
    def measured(verdict: Verdict, value: float) -> tuple[Verdict, str, dict[str, Any]]:
        interval = {"value": value, "low": value - 0.1, "high": value + 0.1}
        return verdict, "", {"measured": {"share": interval}}

    table = build(
        {
            "4.46.3": {"greedy-repeats": measured(HOLDS, 0.5)},
            "5.0.0": {"greedy-repeats": measured(Verdict.NOT_OBSERVED, share)},
        }
    )
    assert read_rows(table) == {"greedy-repeats": ["holds", f"not observed{shown}"]}


# --- what is shown -------------------------------------------------------------------------------


@pytest.fixture
def mixed(build: Build) -> Table:
    return build(
        {
            "4.46.3": {"default-length": (FAILS, "14, not 20"), "pad-token": HOLDS},
            "9.9.9": f"no version {HOSTILE}",
            "5.0.0": {"default-length": (FAILS, HOSTILE), "pad-token": HOLDS},
        },
        expect(),
    )


def test_terminal_shows_a_table_and_reasons(mixed: Table) -> None:
    text = view.render_text([mixed], width=120)
    (row,) = [line for line in text.splitlines() if line.startswith("│ default-length")]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["default-length", "fails, expected", "·", "fails, unexpected"]
    assert "pad-token" not in text
    assert "default-length: fails with transformers 4.46.3: 14, not 20" in text
    assert ("transformers 4.46.3: Environment made in 8.0 s. Claims decided in 1 min 1 s.") in text
    assert "\x1b" not in text
    assert "pad-token" in view.render_text([mixed], width=120, whole=True)


def test_page_escapes_every_text_and_links_reports(mixed: Table, tmp_path: Path) -> None:
    (tmp_path / "4.46.3" / "report.html").touch()
    html = view.render_page([mixed], tmp_path, tmp_path / "pages" / "matrix.html")
    assert "<img src=x" not in html
    assert "</script></style>" not in html
    assert 'href="../4.46.3/report.html"' in html
    assert "5.0.0/report.html" not in html
    english, japanese = Page(html).text, Page(html, "ja").text
    for word in ("not installed", "fails expected", "fails unexpected", "14, not 20"):
        assert word in english
    for word in ("インストール不可", "不成立 予想どおり", "不成立 予想外"):
        assert word in japanese
    assert "script-src 'sha256-" in html


def test_summary_holds_the_table_reasons_and_expectations(mixed: Table) -> None:
    text = view.render_summary([mixed], "matrix.html")
    assert text.startswith(
        "## Runs that did not finish: 1. Unexpected verdicts: 1. "
        "Verdicts that differ from the column before: 0.\n\n### embedded\n\n"
        "| claim | transformers 4.46.3 | transformers 9.9.9 | transformers 5.0.0 |\n"
        "| --- | --- | --- | --- |\n"
        "| `default-length` | fails, expected | · | fails, unexpected |\n"
    )
    assert "The same in every column: 1 claim holds." in text
    assert (
        "- transformers \\<4.47: fails: The prompt was counted. (measured): default-length\n"
    ) in text
    assert re.search(r"(?<!\\)<", text) is None
    assert text.endswith("Page: matrix.html\n")


def test_releases_page_names_its_command_and_settings(build: Build) -> None:
    table = build({"4.46.3": {"pad-token": HOLDS}, "5.0.0": {"pad-token": HOLDS}})
    text = view.render_releases([table], "probes matrix --with transformers==4.46.3,5.0.0")
    assert "$ probes matrix --with transformers==4.46.3,5.0.0\n" in text
    assert "Decided with torch 2.13.0, Python 3.11, Linux x86_64, on a CPU." in text
    assert "## embedded" in text
