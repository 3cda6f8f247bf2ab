"""Recorded outputs over several runs: when they are written, and what a user reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probes.measure import greedy
from probes.plugin import recordings
from tests.support.project import Project

CLAIMS = Path(__file__).parents[1] / "claims"
FIRST = "recorded, nothing to compare with: embedded on cpu "
UPDATE = "--snapshot-update"


@pytest.fixture
def recording(warm_project: Project, in_brief: None, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that decides the claims about recorded outputs, with nothing recorded yet."""
    shutil.copy(CLAIMS / "test_recorded.py", warm_project.folder)
    shutil.copy(CLAIMS / "conftest.py", warm_project.folder)
    # Texts that other claims share are longer than what is recorded of them.
    monkeypatch.setattr(greedy, "SHARED_LENGTH", 20)
    # The same modules may be loaded already, from where they were copied. The ids of a tokenizer
    # are recorded without weights, and their claim is decided without a record too. Beams and long
    # texts take long, and are recorded in the same way.
    warm_project.pytester.makeini(
        '[pytest]\naddopts = --import-mode=importlib -k "greedy_texts_are or numbers_are"\n'
        "filterwarnings = default\n"
    )
    return warm_project


def files(project: Project) -> list[Path]:
    return sorted((project.folder / ".probes" / "recorded-outputs").glob("*/*"))


def numbers(project: Project) -> Path:
    (file,) = (file for file in files(project) if "numbers" in file.name)
    return file


def change(file: Path, **parts: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | parts), encoding="utf-8")


def verdicts(project: Project, *arguments: str) -> dict[str, tuple[str, str]]:
    """What one more run decides, by claim; its output is the second of the pair."""
    shutil.rmtree(project.folder / "reports", ignore_errors=True)
    project.run(*arguments)
    return {name: (c["verdict"], c["reason"]) for name, c in project.claims().items()}


def test_first_run_records_and_next_compares(recording: Project) -> None:
    result = recording.run()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED  # no claim was decided
    result.stdout.fnmatch_lines([f"not applicable: recorded-texts, recorded-numbers: {FIRST}*"])
    written = {file: file.read_bytes() for file in files(recording)}
    assert len(written) == 2
    (check,) = recording.claims()["recorded-texts"]["evidence"]
    assert check["values"]["outputs"]["texts"]
    found = verdicts(recording)
    assert {verdict for verdict, _ in found.values()} == {"holds"}
    (check,) = recording.claims()["recorded-numbers"]["evidence"]
    assert check["values"]["largest_share_of_tolerance"] < 0.1
    assert {file: file.read_bytes() for file in files(recording)} == written


def test_workers_record_outputs(recording: Project) -> None:
    pytest.importorskip("xdist")
    result = recording.run("-n", "1", "-k", "numbers")
    result.stdout.fnmatch_lines([f"not applicable: recorded-numbers: {FIRST}*"])
    result.stdout.no_fnmatch_line("*unused*")
    assert verdicts(recording, "-k", "numbers") == {"recorded-numbers": ("holds", "")}


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b'{"format": 1}'])
def test_damaged_recording_is_kept_until_updated(recording: Project, damage: bytes) -> None:
    recording.run("-k", "numbers")
    sound = numbers(recording).read_bytes()
    numbers(recording).write_bytes(damage)
    result = recording.run("-k", "numbers")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (line,) = (line for line in result.outlines if line.startswith("error: recorded-numbers: "))
    assert f"recorded-outputs/test_recorded/{numbers(recording).name} " in line
    assert line.endswith(f": {UPDATE} records it again")
    result.stdout.no_fnmatch_line("*Traceback*")
    assert numbers(recording).read_bytes() == damage
    _, reason = verdicts(recording, "-k", "numbers", UPDATE)["recorded-numbers"]
    assert reason.startswith(FIRST)
    assert numbers(recording).read_bytes() == sound


def test_recording_of_another_target_is_refused(recording: Project) -> None:
    recording.run("-k", "numbers")
    made = json.loads(numbers(recording).read_text(encoding="utf-8"))["made"]
    change(numbers(recording), made=made | {"target": "other"})
    verdict, reason = verdicts(recording, "-k", "numbers")["recorded-numbers"]
    assert verdict == "error"
    assert "holds outputs of other on cpu " in reason


def test_drift_fails_until_updated(recording: Project) -> None:
    recording.run("-k", "numbers")
    old = json.loads(numbers(recording).read_text(encoding="utf-8"))["numbers"]
    name = next(iter(old))
    moved = old | {name: old[name] | {"value": old[name]["value"] + 2.5 * old[name]["tolerance"]}}
    change(numbers(recording), numbers=moved)
    drifted = numbers(recording).read_bytes()
    verdict, reason = verdicts(recording, "-k", "numbers")["recorded-numbers"]
    assert verdict == "fails"
    assert reason.startswith(f"{name} is ")
    assert ": 2.5 times the drift tolerated (" in reason
    assert numbers(recording).read_bytes() == drifted
    verdict, reason = verdicts(recording, "-k", "numbers", UPDATE)["recorded-numbers"]
    assert (verdict, reason) == ("not applicable", f"recorded again, so not compared: {name}")
    before = numbers(recording).stat().st_mtime_ns
    assert verdicts(recording, "-k", "numbers", UPDATE)["recorded-numbers"] == ("holds", "")
    assert numbers(recording).stat().st_mtime_ns == before


def test_new_outputs_are_added_and_unused_kept(recording: Project) -> None:
    recording.run("-k", "numbers")
    whole = json.loads(numbers(recording).read_text(encoding="utf-8"))["numbers"]
    first, *rest = whole
    change(numbers(recording), numbers={name: whole[name] for name in rest} | {"old": whole[first]})
    result = recording.run("-k", "numbers")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([f"*recorded but unused: ?'old'?: {UPDATE} removes it"])
    kept = json.loads(numbers(recording).read_text(encoding="utf-8"))["numbers"]
    assert set(kept) == {*whole, "old"}
    recording.run("-k", "numbers", UPDATE)
    after = json.loads(numbers(recording).read_text(encoding="utf-8"))["numbers"]
    assert set(after) == {*whole}


def test_conversation_rendered_otherwise_than_recorded_is_shown(
    recording: Project, copy_of_embedded: Callable[..., Path]
) -> None:
    arguments = ("-k", "conversations", "--target")
    found = verdicts(recording, *arguments, str(copy_of_embedded()))
    assert found["chat-recorded"] == ("holds", "")
    changed = copy_of_embedded("changed/copied")
    settings = changed / "tokenizer_config.json"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("[/INST]", "[/ INST]"), encoding="utf-8")
    verdict, reason = verdicts(recording, *arguments, str(changed))["chat-recorded"]
    assert verdict == "fails"
    assert reason.startswith("a question: rendered as '…ainted the Mona Lisa? [/ INST][ANSWER]'")


def test_recording_without_test_is_named_unused(recording: Project) -> None:
    recording.run("-k", "numbers")
    used = numbers(recording)
    elsewhere = used.with_name(used.name.replace("cpu", "cuda"))
    gone = used.with_name("test_that_was[embedded--cpu].json")
    for file in (elsewhere, gone):
        shutil.copy(used, file)
    for arguments in ((), (UPDATE,), ("-k", "numbers")):
        result = recording.run(*arguments)
        unused = [line for line in result.outlines if "unused" in line and "rootdir" not in line]
        assert unused == [
            "unused: test_recorded/test_that_was[embedded--cpu].json: its test is gone; delete it"
        ]
    assert elsewhere.is_file()
    assert gone.is_file()


def test_unwritable_recording_is_in_the_record(
    recording: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(recordings, "write_atomically", refuse)
    verdict, reason = verdicts(recording, "-k", "numbers")["recorded-numbers"]
    assert verdict == "not applicable"
    assert reason.startswith(
        "not recorded (OSError: [Errno 30] Read-only file system), nothing to compare with: "
    )
    (check,) = recording.claims()["recorded-numbers"]["evidence"]
    assert check["values"]["outputs"]["numbers"]


def test_first_run_names_what_is_recorded_in_another_environment(recording: Project) -> None:
    verdicts(recording, "-k", "numbers")
    (file,) = files(recording)
    content = json.loads(file.read_text(encoding="utf-8"))
    change(file, made=content["made"] | {"dtype": "bfloat16", "attention": "eager"})
    file.rename(file.with_name(file.name.replace("float32--none--sdpa", "bfloat16--none--eager")))
    _, reason = verdicts(recording, "-k", "numbers")["recorded-numbers"]
    assert reason.startswith(FIRST)
    assert reason.endswith("; recorded before with dtype bfloat16, attention eager")
