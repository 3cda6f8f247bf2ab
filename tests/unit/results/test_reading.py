from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from probes.errors import UserError
from probes.results.journal import Journal
from probes.results.reading import locate, read, run_folders
from probes.schema.record import Verdict
from tests.support.samples import FINISHED, check, header, record


def write(path: Path, text: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record().model_dump_json() if text is None else text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        read(path)
    return str(refused.value)


def test_read_takes_record_run_or_target_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "embedded" / "20261123T075120Z" / "record.json")
    assert read(path) == read(path.parent) == read(path.parent.parent) == record()


def test_target_folder_means_its_latest_run(tmp_path: Path) -> None:
    for name in ("20261123T075120Z", "20261123T075120Z-2", "20261123T075120Z-10", "copy-of-mine"):
        write(tmp_path / name / "record.json")
    write(tmp_path / "20261124T000000Z" / "notes.txt")
    assert locate(tmp_path).parent.name == "20261123T075120Z-10"


def test_record_is_preferred_to_journal(tmp_path: Path) -> None:
    write(tmp_path / "record.json")
    write(tmp_path / "journal.jsonl", "not read")
    assert read(tmp_path).complete


def test_folder_of_one_targets_runs_is_its_latest_run(tmp_path: Path) -> None:
    write(tmp_path / "tiny" / "20261123T075120Z" / "record.json")
    assert read(tmp_path) == record()


def test_run_of_another_user_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def deny(path: Path, **more: bool) -> os.stat_result:
        if path.parent.name == "20261124T000000Z":
            raise PermissionError(13, "Permission denied")
        return stat(path, **more)

    for name in ("20261123T075120Z", "20261124T000000Z"):
        write(tmp_path / name / "record.json")
    monkeypatch.setattr(Path, "stat", deny)
    assert [folder.name for folder in run_folders(tmp_path)] == ["20261123T075120Z"]


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    text = "\ufeff" + record().model_dump_json()
    assert read(write(tmp_path / "record.json", text)) == record()


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "no run in '{}': it holds no record.json and no journal.jsonl, nor do its folders"),
        (["b", "a"], "'{}' holds runs of several targets: name one of 'a', 'b'"),
        (None, "no record at '{}': name a record.json, a run's folder or a target's folder"),
    ],
)
def test_path_without_one_run_is_refused(
    tmp_path: Path, folders: list[str] | None, message: str
) -> None:
    path = tmp_path if folders is not None else tmp_path / "nowhere"
    for target in folders or []:
        write(path / target / "20261123T075120Z" / "record.json")
    assert refusal(path) == message.format(path)


RECORD = record().model_dump_json()
MISSPELT = RECORD.replace('"verdict":', '"verdickt":', 1)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "FILE is truncated or not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("<html></html>", "FILE is truncated or not JSON: Expecting value: line 1 column 1"),
        (RECORD[:9], "FILE is truncated or not JSON: Unterminated string"),
        (RECORD[: len(RECORD) // 2], "FILE is truncated or not JSON: "),
        (RECORD[:-1], "FILE is truncated or not JSON: Expecting ',' delimiter"),
        (b"\x80\x02}q\x00", "FILE is truncated or not JSON: 'utf-8' codec can't decode"),
        ('{"schema_version": ' + "9" * 5000 + "}", "FILE is truncated or not JSON: "),
        ("[" * 100_000, "FILE is nested too deeply to be read"),
        ('{"x": ' + "[" * 99999 + "]" * 99999 + "}", "FILE is nested too deeply to be read"),
        ("[1, 2]", "FILE should hold a JSON object, got list"),
        ('{"name": "x"}', "'FILE' is not the record of a run: its schema_version is None"),
        ('{"schema_version": 2.0}', "'FILE' is not the record of a run: its schema_version is 2.0"),
        ('{"schema_version": "1"}', "'FILE' is not the record of a run: its schema_version is '1'"),
        ('{"schema_version": true}', "'FILE' is not the record of a run: its schema_version is T"),
        ('{"schema_version": 0}', "'FILE' is not the record of a run: its schema_version is 0"),
        ('{"schema_version": 1}', "'FILE' is not the record of a run: suite is missing"),
        (MISSPELT, "'FILE' is not the record of a run: claims.verdickt 'holds' Extra inputs are"),
        (
            '{"schema_version": 4, "anything": "else"}',
            "'FILE' was written by a newer version of probes (format 4, this one reads up to 3): "
            "upgrade probes to read it",
        ),
    ],
)
def test_file_that_is_no_record_is_refused(tmp_path: Path, content: str | bytes, line: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refusal(path).startswith(line.replace("FILE", str(path)))


@pytest.mark.parametrize("depth", [150, 300, 900])
def test_deep_evidence_is_read_or_refused(tmp_path: Path, depth: int) -> None:
    data = json.loads(record().model_dump_json())
    inner: list[object] = []
    for _ in range(depth):
        inner = [inner]
    data["claims"][0]["evidence"][0]["values"] = {"deep": inner}
    path = write(tmp_path / "record.json", json.dumps(data))
    try:
        read(path)
    except UserError as refused:
        assert "the record of a run" in str(refused)  # noqa: PT017 - either outcome is right


def test_file_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "record.json")

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert refusal(path) == f"cannot read {path}: Permission denied"


def journal(folder: Path) -> Path:
    begun = Journal.begin(folder, header())
    begun.write_check("bos-inserted", check())
    begun.write_check("pad-token", check())
    return begun.folder / "journal.jsonl"


def test_journal_with_torn_first_line_is_refused(tmp_path: Path) -> None:
    path = journal(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    assert refusal(path) == (
        f"'{path}' holds no complete line: the run was stopped before it began"
    )


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("oops", "Expecting value: line 1 column 1 (char 0)"),
        ('{"claim": "a"}', "neither a check nor facts nor a rate nor an end"),
        ('{"claim": "a", "place": 0, "check": {"name": "b"}}', "verdict is missing"),
    ],
)
def test_damaged_journal_line_is_named(tmp_path: Path, line: str, what: str) -> None:
    path = journal(tmp_path)
    first, _, last = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{first}\n{line}\n{last}\n", encoding="utf-8")
    assert refusal(path) == (
        f"line 2 of '{path}' is damaged ({what}): remove that line to read the rest"
    )


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (4, "was written by a newer version of probes (format 4, this one reads up to 3): "),
        (1, "is a stopped run of an older version (0.1.0): turn it into a record with that "),
    ],
)
def test_journal_of_another_version_is_refused(tmp_path: Path, version: int, message: str) -> None:
    path = journal(tmp_path)
    text = path.read_text(encoding="utf-8").replace('_version":3', f'_version":{version}', 1)
    path.write_text(text, encoding="utf-8")
    assert refusal(path).startswith(f"'{path}' {message}")


def test_finished_journal_is_a_complete_run(tmp_path: Path) -> None:
    path = journal(tmp_path)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"finished": FINISHED}) + "\n")
    assert read(path).complete
    assert {claim.verdict for claim in read(path).claims} == {Verdict.HOLDS}
