"""Any record, journal or targets file is read or refused in one line, within seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import UserError
from probes.results.index import list_runs
from probes.results.journal import Journal
from probes.results.reading import JOURNAL_FILE, RECORD_FILE, read
from probes.schema.record import Record
from probes.targets.resolve import list_targets, read_pyproject, read_targets_file, resolve
from probes.targets.target import Target
from tests.support.samples import ENVIRONMENT, LOADED, check, header, mixed, rates

SECONDS = 10.0
"""More than any of these files may take, even on a busy machine."""

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**400, 1e308, float("nan"), float("inf"), "", "\0", "\ud800", "日本"),
    *("../..", "x" * 300, "2026-11-23", "9999-99-99T99:99:99Z", [], {}, [[[]]], {"": ""}),
)
JSON = st.recursive(
    st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def read_or_refuse(read_it: Callable[[], object]) -> object:
    """Return the result, or the line of the refusal."""
    start = time.monotonic()
    try:
        result = read_it()
    except UserError as error:
        result = str(error)
        assert result.strip()
        assert result.isprintable()
        assert len(result) < 2000
    assert time.monotonic() - start < SECONDS
    return result


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [place] * bool(place) + [p for k, each in inner for p in places(each, (*place, k))]


@st.composite
def changed(draw: st.DrawFn, valid: Any) -> Any:
    """Replace, drop or rename a few parts of a valid structure."""
    value = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 3))):
        found = places(value)
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        holder = value
        for key in way:
            holder = holder[key]
        change = draw(st.sampled_from(["replace", "replace", "drop", "rename"]))
        if change == "replace":
            holder[last] = draw(JSON)
        elif change == "drop" or isinstance(holder, list):
            del holder[last]
        else:
            holder[draw(st.text(max_size=9))] = holder.pop(last)
    return value


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    data = valid
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 40, len(data)])))
        put = draw(st.binary(max_size=4) | st.sampled_from([b"\n", b'"', b"{", b"[" * 3000, b"9"]))
        data = data[:start] + put + data[end:]
    return data


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "embedded" / "20261123T075120Z"
    folder.mkdir(parents=True)
    return folder


def check_file(folder: Path, name: str, data: bytes) -> None:
    """Read it as a run's folder, and as one of the runs in a list."""
    other = folder / (JOURNAL_FILE if name == RECORD_FILE else RECORD_FILE)
    other.unlink(missing_ok=True)
    (folder / name).write_bytes(data)
    found = read_or_refuse(lambda: read(folder))
    assert isinstance(found, (Record, str))
    listed = list_runs(folder.parent.parent)  # one that has not begun is not listed
    assert isinstance(found, str) or [run.readable for run in listed] == [True]


RECORD = json.loads(mixed().model_copy(update={"throughput": rates()}).model_dump_json())
OLDER = {key: value for key, value in RECORD.items() if key != "throughput"} | {"schema_version": 1}
RECORDS = (
    changed(RECORD).map(as_bytes)
    | changed(OLDER).map(as_bytes)
    | damaged(as_bytes(RECORD))
    | JSON.map(as_bytes)
    | st.binary(max_size=60)
)


@settings(max_examples=150, deadline=None)
@given(data=RECORDS)
def test_any_record_is_read_or_refused_in_one_line(run_folder: Path, data: bytes) -> None:
    check_file(run_folder, RECORD_FILE, data)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A journal with a line of every kind."""
    journal = Journal.begin(tmp_path_factory.mktemp("journal"), header())
    journal.write_check("bos-inserted", check(values={"text": "日本", "odd": [1, {"two": None}]}))
    journal.write_facts(LOADED, ENVIRONMENT)
    journal.write_rate(rates()[0])
    journal.write_check("unplanned", check())
    written = (journal.folder / JOURNAL_FILE).read_text(encoding="utf-8").splitlines()
    return [*map(json.loads, written), {"finished": "2026-11-23T07:51:52Z"}]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_journal_is_read_or_refused_in_one_line(
    run_folder: Path, lines: list[Any], data: st.DataObject
) -> None:
    def journal(values: list[Any]) -> bytes:
        return b"".join(as_bytes(value) + b"\n" for value in values)

    strategy = (
        changed(lines).map(journal)
        | st.lists(st.sampled_from(lines), max_size=9).map(lambda more: journal([lines[0], *more]))
        | damaged(journal(lines))
        | st.binary(max_size=60)
    )
    check_file(run_folder, JOURNAL_FILE, data.draw(strategy))


# --- targets -------------------------------------------------------------------------------------

TOML = b"""\
[targets.mine]
title = "mine"
folder = "models/mine"
words = "words.toml"
device = "cuda:1"
provides = ["bos"]
expects = ["collapse"]

[targets."a-hub.model"]
repository = "org/model"
revision = "main"
quantization = "nf4"
dtype = "float16"
attention = "sdpa"
"""

TEXTS = st.text(max_size=30) | st.sampled_from(
    ["embedded", "./x", "~", "~x", "a/b", "//", "org/model", "\0", "\ud800", "x" * 5000, "..", "."]
)
VALUES = {
    name: st.none() | TEXTS | st.sampled_from(["nf4", "auto", "cpu", "cuda:1", "sdpa", "main"])
    for name in ("quantization", "dtype", "device", "revision", "attention", "words", "questions")
}


TABLES = st.dictionaries(st.sampled_from([*Target.model_fields]) | st.text(max_size=9), JSON).map(
    lambda table: (
        "[targets.a]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    )
)


@settings(max_examples=150, deadline=None)
@given(data=damaged(TOML) | TABLES.map(lambda text: text.encode(errors="replace")))
def test_any_targets_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "project"
    folder.mkdir(exist_ok=True)
    mine, project = folder / "mine.toml", folder / "pyproject.toml"
    mine.write_bytes(data)
    project.write_bytes(data.replace(b"[targets", b"[tool.probes.targets"))
    for found in (
        read_or_refuse(lambda: read_targets_file(mine)),
        read_or_refuse(lambda: read_pyproject(project)),
        read_or_refuse(lambda: list_targets(targets_file=mine, project=folder)),
    ):
        assert isinstance(found, (dict, str))
        assert isinstance(found, str) or all(isinstance(t, Target) for t in found.values())


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, overrides=st.fixed_dictionaries({}, optional=VALUES))
def test_any_command_line_gives_a_target_or_one_line(
    text: str, overrides: dict[str, str | None]
) -> None:
    assert isinstance(read_or_refuse(lambda: resolve(text, overrides=overrides)), (Target, str))
