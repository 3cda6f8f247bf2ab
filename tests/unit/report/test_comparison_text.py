from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from probes.compare.records import compare
from probes.report.html.page import render, render_comparison
from probes.report.text import markdown
from probes.report.text.console import format_comparison
from probes.results.reading import read
from probes.schema.comparison import Comparison, Outcome
from probes.schema.record import SCHEMA_VERSION, Record, Verdict
from tests.support.command import run
from tests.support.kept_prompts import prompt
from tests.support.samples import (
    ENVIRONMENT,
    HOSTILE,
    LOADED,
    check,
    header,
    planned,
    rates,
    record,
)

FROZEN = Path(__file__).parents[1] / "frozen"
"""Records as each format of them was written; they never change."""

PACKAGES = ENVIRONMENT.packages | {"transformers": "4.46.3"}
OLDER = ENVIRONMENT.model_copy(update={"packages": PACKAGES})


def claims(new: bool) -> Record:
    """A run with every outcome, in its old and its new version."""
    names = ["same", "drift", "text", "broke", "mended", "later" if new else "sooner", "absent"]
    kept = {"kept_prompts": [prompt("P", top=2.5 if new else 2.0)], "noise": 1e-5}
    broken = check(verdict=Verdict.FAILS, reason="expected 20 new tokens, got 14")
    checks = {
        "same": check(values={"p": 0.5, **kept, "tolerance": 0.01}),
        "drift": check("test_p", values={"grid": [{"p": 0.5}] * 2 + [{"p": 0.6 if new else 0.5}]}),
        "text": check("test_t", values={"text": "Kyoto is" if new else "Tokyo is"}),
        "broke": broken if new else check(),
        "mended": check() if new else broken,
        "absent": check(
            verdict=Verdict.NOT_APPLICABLE if new else Verdict.HOLDS,
            reason="no such weights" if new else "",
        ),
    }
    made = [(name, checks.get(name, check())) for name in names]
    plan = header(*map(planned, names))
    return record(made, plan, environment=ENVIRONMENT if new else OLDER)


@pytest.fixture
def found() -> Comparison:
    return compare(claims(new=False), claims(new=True))


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_frozen_records_of_every_format_are_compared(version: int) -> None:
    old, new = (read(FROZEN / f"format-{version}-{which}.json") for which in ("old", "new"))
    found = compare(old, new)
    assert set(found.counts) == set(Outcome)
    assert found.drift is not None
    assert found.drift.outcome is Outcome.DRIFTED
    assert bool(found.throughput) == (version > 1)


def test_terminal_shows_every_outcome_in_order_of_attention(found: Comparison) -> None:
    assert set(found.counts) == {*Outcome}
    assert format_comparison(found, width=100) == TERMINAL


TERMINAL = """\
old: 23 November 2026, 07:51 UTC, suite 0.1.0
new: 23 November 2026, 07:51 UTC, suite 0.1.0
Differences in target and environment
┏━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━┳━━━━━━━━┓
┃ fact                 ┃ old    ┃ new    ┃
┡━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━╇━━━━━━━━┩
│ package transformers │ 4.46.3 │ 5.23.0 │
└──────────────────────┴────────┴────────┘
newly failing: broke: holds then, fails now
  now: expected 20 new tokens, got 14
  test_it: the check was "holds", is "fails"
changed: text: holds
  test_t: text: "Tokyo is" then, "Kyoto is" now
drifted: drift: holds
  test_p: grid[*].p: 1 of 3 moved; mean +0.0333 (95 % interval −0.11 to +0.177, effect size +0.577\
), the furthest +0.1: 0.5 then, 0.6 now
removed: sooner: holds
not comparable: absent: holds then, not applicable now
  now: no such weights
fixed: mended: fails then, holds now
  then: expected 20 new tokens, got 14
  test_it: the check was "fails", is "holds"
added: later: holds
drifted: Next-token distributions on the shared prompts
  The distributions moved further than rounding explains (prompts: 1, positions: 2).
  The largest change of a log-probability is 0.359; rounding explains 0.00028.
  KL divergence, mean, nats: 0.0261 (0.0261 – 0.0261)
  RMS change in a probability: 0.101 (0.101 – 0.101)
  same most likely token: 100.00 % (15.81 % – 100.00 %)
1 newly failing, 1 changed, 1 drifted, 1 removed, 1 not comparable, 1 fixed, 1 added, 1 same.
"""


def test_equal_records_give_two_lines() -> None:
    text = format_comparison(compare(record(), record()), width=80)
    assert text.splitlines()[-2:] == [
        "Target and environment are the same.",
        "Nothing changed (claims: 2).",
    ]


def test_throughput_is_shown_as_ratios_and_is_no_change() -> None:
    found = compare(record(throughput=rates()), record(throughput=rates(faster=1.5)))
    assert found.outcomes == {Outcome.SAME}
    name = "new tokens, batch 8, static cache"
    text = format_comparison(found, width=200)
    assert f"  {name}: 1.50 times the old rate (1.23 – 1.83): 453 tokens/s then, 679" in text
    row = f"| {name} | 453 tokens/s | 679 tokens/s | 1.50 | 1.23 – 1.83 |"
    assert row in markdown.summarize_comparison(found)
    assert "スループット" in render_comparison(found)
    without = compare(record(), record(throughput=rates()))
    assert "Throughput" not in format_comparison(without)
    assert 'id="compared-throughput"' not in render_comparison(without)


def test_markdown_has_tables(found: Comparison) -> None:
    text = markdown.summarize_comparison(found)
    assert text.startswith("## embedded: 1 newly failing, 1 changed, 1 drifted")
    assert "| package transformers | 4.46.3 | 5.23.0 |" in text
    broke = (
        "| broke | newly failing | holds then, fails now | now: expected 20 new tokens, got 14<br>"
    )
    assert broke in text
    assert "| KL divergence, mean, nats | 0.0261 | 0.0261 – 0.0261 |" in text


def test_page_has_both_languages(found: Comparison) -> None:
    page = render_comparison(found)
    for text in ("newly failing", "新たに不成立", "Kyoto is", "4.46.3", "KL divergence"):
        assert text in page


def test_hostile_evidence_stays_text() -> None:
    plan = header(planned("c", title=HOSTILE))
    runs = [record([("c", check(HOSTILE, values={HOSTILE: t}))], plan) for t in ("a", HOSTILE)]
    found = compare(*runs)
    page = render_comparison(found)
    assert "<img" not in page
    assert page.count("<script>") == 1
    assert "<img" not in re.sub(r"\\<", "", markdown.summarize_comparison(found))
    text = format_comparison(found)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_report_links_its_baseline_to_claims(found: Comparison) -> None:
    page = render(claims(new=True), found)
    assert 'id="baseline"' in page
    assert '<a href="#claim-broke">' in page
    assert 'id="baseline"' not in render(claims(new=True))


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    paths = []
    for name, new in (("old", False), ("new", True)):
        path = tmp_path / name / "record.json"
        path.parent.mkdir()
        path.write_text(claims(new).model_dump_json(), encoding="utf-8")
        paths.append(path)
    return paths[0], paths[1]


def test_compare_exit_codes(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    old, new = runs
    assert run("compare", old, old) == 0
    assert run("compare", old, new) == 1
    assert run("compare", old.parent, new.parent) == 1
    assert run("compare", new, old, "--fail-on", "newly-failing") == 1
    assert run("compare", old, new, "--fail-on", "none") == 0
    assert "1 newly failing" in capsys.readouterr().out


def test_compare_writes_files(runs: tuple[Path, Path], tmp_path: Path) -> None:
    page, summary, data = (tmp_path / name for name in ("c.html", "c.md", "c.json"))
    assert run("compare", *runs, "--html", page, "--summary", summary, "--json", data) == 1
    assert "newly failing" in page.read_text(encoding="utf-8")
    assert summary.read_text(encoding="utf-8").startswith("## embedded")
    stored = json.loads(data.read_text(encoding="utf-8"))
    assert stored["format"] == 1
    assert stored["claims"][0]["outcome"] == "same"
    assert Comparison.model_validate(stored) == compare(claims(new=False), claims(new=True))


def test_wrong_targets_and_outcomes_are_refused(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.json"
    gpt2 = record(target=LOADED.model_copy(update={"name": "gpt2-xl"}))
    other.write_text(gpt2.model_dump_json(), encoding="utf-8")
    assert run("compare", runs[0], other) == 2
    assert "allow it with --across-targets" in capsys.readouterr().err
    assert run("compare", runs[0], other, "--across-targets") == 1
    capsys.readouterr()
    assert run("compare", *runs, "--fail-on", "newly-faling") == 2
    assert capsys.readouterr().err.startswith(
        "probes: --fail-on: no outcome 'newly-faling'; did you mean 'newly-failing'? choose among "
    )
