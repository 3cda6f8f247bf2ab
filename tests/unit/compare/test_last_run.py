from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from probes.compare.last_run import SinceLast, compare_with_last
from probes.compare.records import compare
from probes.report.html.page import render
from probes.report.locale import LANGUAGES
from probes.report.text.since import describe_since, has_changed
from probes.schema.record import Check, Record, Verdict
from tests.support.samples import ENVIRONMENT, LOADED, check, header, planned, record

NOW = "20261124T075120Z"


def write(folder: Path, found: Record) -> Path:
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(found.model_dump_json(), encoding="utf-8")
    return folder


def at(day: int, checks: dict[str, Check] | None = None, **more: Any) -> Record:
    """A run of November 2026."""
    claims = checks or {"bos-inserted": check(), "pad-token": check()}
    plan = header(*map(planned, claims), started=f"2026-11-{day}T07:51:20Z")
    return record([*claims.items()], plan, **more)


def compare_in(folder: Path, *earlier: Record, now: Record | None = None) -> SinceLast | None:
    for each in earlier:
        write(folder / "embedded" / each.started.replace("-", "").replace(":", ""), each)
    now = now or at(24)
    return compare_with_last(now, write(folder / "embedded" / NOW, now))


def test_first_run_is_compared_with_nothing(tmp_path: Path) -> None:
    assert compare_in(tmp_path) is None


def test_newest_earlier_run_is_taken(tmp_path: Path) -> None:
    found = compare_in(tmp_path, at(20), at(22), at(26))
    assert found is not None
    assert found.comparison is not None
    assert found.comparison.old.started == "2026-11-22T07:51:20Z"
    assert found.folder == tmp_path / "embedded" / "20261122T075120Z"
    assert not found.note


def test_run_of_few_claims_does_not_hide_a_whole_one(tmp_path: Path) -> None:
    every = {name: check() for name in "abc"}
    alone = at(22, {"a": check()})
    found = compare_in(tmp_path, at(20, every), alone, now=at(24, every))
    assert found is not None
    assert found.folder == tmp_path / "embedded" / "20261120T075120Z"
    (tmp_path / "alone").mkdir()
    found = compare_in(tmp_path / "alone", alone, now=at(24, every))
    assert found is not None
    assert found.comparison is not None
    said = "Nothing changed since 22 November 2026, 07:51 UTC: 2 not decided then; 1 the same."
    assert describe_since(found.comparison) == said


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"dtype": "float16"}, "dtype float16 then, float32 now"),
        ({"device": "cuda:1"}, "device cuda then, cpu now"),
        ({"fingerprint": "a" * 64}, "the model's files are not the same"),
        ({"quantization": "nf4"}, "quantization nf4 then, none now"),
        ({"reference": "other (cc)"}, "reference other (cc) then, mine (dd) now"),
    ],
)
def test_runs_of_other_targets_are_noted(tmp_path: Path, facts: dict[str, str], line: str) -> None:
    other = at(22, target=LOADED.model_copy(update=facts))
    known = {"fingerprint": "b" * 64, "reference": "mine (dd)"}
    now = at(24, target=LOADED.model_copy(update=known))
    found = compare_in(tmp_path, other, now=now)
    assert found == SinceLast(note=f"not compared with the run of {other.started}: {line}")


def test_run_with_another_seed_is_noted(tmp_path: Path) -> None:
    other = at(22, seed=1)
    found = compare_in(tmp_path, other, at(20), now=at(24, seed=2))
    assert found is not None
    assert found.folder == tmp_path / "embedded" / "20261120T075120Z"  # it is not known of it
    found = compare_in(tmp_path / "alone", other, now=at(24, seed=2))
    assert found == SinceLast(
        note=f"not compared with the run of {other.started}: seed 1 then, 2 now"
    )


def test_facts_that_are_not_known_do_not_tell_runs_apart(tmp_path: Path) -> None:
    unloaded = LOADED.model_copy(update={"dtype": "auto", "device": "auto"})
    found = compare_in(tmp_path, at(22, target=unloaded))
    assert found is not None
    assert found.comparison is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 99}', "\x00"])
def test_unreadable_run_is_noted_and_the_one_before_taken(tmp_path: Path, text: str) -> None:
    broken = tmp_path / "embedded" / "20261123T000000Z"
    broken.mkdir(parents=True)
    (broken / "record.json").write_text(text, encoding="utf-8")
    found = compare_in(tmp_path, at(22))
    assert found is not None
    assert found.note.startswith("not compared with the last run: ")
    assert "\n" not in found.note
    assert found.folder == tmp_path / "embedded" / "20261122T075120Z"


def test_record_elsewhere_is_compared_with_nothing(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "a", at(22))
    now = at(24)
    assert compare_with_last(now, write(tmp_path / "runs" / "b", now)) is None


# --- as text -------------------------------------------------------------------------------------


def everything(new: bool) -> Record:
    broken = check(verdict=Verdict.FAILS, reason="expected 20 new tokens, got 14")
    gone = check(verdict=Verdict.NOT_APPLICABLE, reason="no tokenizer.json")
    packages = {} if new else {"transformers": "5.14.1"}
    environment = ENVIRONMENT.model_copy(update={"packages": ENVIRONMENT.packages | packages})
    checks = {
        "broke": broken if new else check(),
        "mended": check() if new else broken,
        "gone": gone if new else check(),
        "text": check(values={"text": "Kyoto" if new else "Tokyo"}),
        "number": check(values={"p": 0.7 if new else 0.5}),
        "same": check(),
    }
    return at(24 if new else 22, checks, environment=environment)


def test_changes_are_one_sentence_in_order_of_attention() -> None:
    found = compare(everything(new=False), everything(new=True))
    assert has_changed(found)
    assert describe_since(found) == (
        "Since 22 November 2026, 07:51 UTC (transformers 5.14.1 → 5.23.0): "
        "broke holds → fails; gone holds → not applicable; mended fails → holds; "
        "1 changed: text; 1 drifted: number; 1 the same."
    )
    assert describe_since(found, "ja") == (
        "2026年11月22日 07:51 UTC（transformers 5.14.1 → 5.23.0）からの変化："
        "broke 成立 → 不成立；gone 成立 → 適用外；mended 不成立 → 成立；"
        "変化 1 件：text；ずれ 1 件：number；同じ 1 件。"
    )


def test_nothing_changed_is_one_sentence() -> None:
    found = compare(at(22), at(24))
    assert not has_changed(found)
    said = "Nothing changed since 22 November 2026, 07:51 UTC: 2 the same."
    assert describe_since(found) == said


def test_report_shows_changes_before_the_claims() -> None:
    now = everything(new=True)
    page = render(now, last=compare(everything(new=False), now))
    assert page.index('id="since"') < page.index('id="claim-broke"')
    assert page.index('id="broken"') < page.index('id="since"')
    for language in LANGUAGES:
        assert describe_since(compare(everything(new=False), now), language) in page
    assert 'id="since"' not in render(now)
