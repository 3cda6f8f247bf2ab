"""Reading a run back: a finished record, or the journal of a run that was stopped.

The version is read before anything else is parsed. An older record is upgraded one step at a time;
a newer one is refused. Whatever a file holds, the outcome is a record or one clear line.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from probes._util.text import quote, shorten
from probes.errors import UserError
from probes.schema.record import (
    SCHEMA_VERSION,
    Check,
    Environment,
    Rate,
    Record,
    TargetFacts,
    fold,
    to_storable,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECORD_FILE = "record.json"
JOURNAL_FILE = "journal.jsonl"
REPORT_FILE = "report.html"

MAX_BYTES = 64 * 1024 * 1024
"""A larger file is not read."""


def _without_throughput(data: dict[str, Any]) -> dict[str, Any]:
    """Format 1 knew no throughput: none was measured."""
    return data | {"schema_version": 2, "throughput": []}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _without_throughput}
"""By version, what turns a record of that version into one of the next."""

_RUN_NAME = re.compile(r"(\d{8}T\d{6}Z)(?:-(\d+))?")


def read(path: Path) -> Record:
    """The record of a run.

    Args:
        path: A `record.json`, a `journal.jsonl`, a run's folder (its record, else its journal), or
            a target's folder (its latest run).

    Raises:
        UserError: There is nothing there, or it is not a record this version can read.
    """
    file = locate(path)
    if file.suffix != ".jsonl":
        return _read_record(file)
    try:
        return _read_journal(file)
    except UserError:
        record = file.with_name(RECORD_FILE)
        if file.exists() or not record.is_file():
            raise
        return _read_record(record)  # the run ended between two looks


def locate(path: Path) -> Path:
    """The file that `read` reads: a record, or a journal where a run has no record.

    Raises:
        UserError: The path leads to no run.
    """
    if not path.exists():
        raise UserError(
            f"no record at '{path}': name a record.json, a run's folder or a target's folder"
        )
    if not path.is_dir():
        return path
    runs = run_folders(path)
    for folder in [path, *runs]:
        for name in (RECORD_FILE, JOURNAL_FILE):
            if (folder / name).is_file():
                return folder / name
    targets = sorted(child.name for child in _folders(path) if run_folders(child))
    if targets:
        raise UserError(f"'{path}' holds runs of several targets: name one of {_listed(targets)}")
    raise UserError(
        f"no run in '{path}': it holds no {RECORD_FILE} and no {JOURNAL_FILE}, nor do its folders"
    )


def run_folders(folder: Path) -> list[Path]:
    """The folders in a folder that hold a run, the newest first."""
    runs = [
        child
        for child in _folders(folder)
        if (child / RECORD_FILE).is_file() or _has_begun(child / JOURNAL_FILE)
    ]
    return sorted(runs, key=_age, reverse=True)


def _has_begun(journal: Path) -> bool:
    """Whether a run has said what it sets out to decide; one that is about to is none yet."""
    try:
        return journal.stat().st_size > 0
    except OSError:  # there is none, or its run has ended: then there is a record
        return journal.with_name(RECORD_FILE).is_file()


def read_lines(path: Path) -> Record:
    """The record that a journal's lines amount to, however large it is.

    Raises:
        UserError: It cannot be read, or a line before the last is damaged.
    """
    lines = _bytes(path).split(b"\n")
    lines.pop()  # what stands behind the last line break was torn while it was written
    if not lines:
        raise UserError(f"'{path}' holds no complete line: the run was stopped before it began")
    run = _Run(_header(_parsed(lines[0], path), path))
    for number, line in enumerate(lines[1:], start=2):
        _add(run, line, f"line {number} of '{path}'")
    run.checks.sort(key=lambda check: check[0])  # workers finish in any order
    checks = [(claim_id, check) for _, claim_id, check in run.checks]
    return fold(run.header, run.facts, checks, run.finished, run.rates)


@dataclass
class _Run:
    """What a journal has told so far."""

    header: Record
    facts: list[tuple[TargetFacts, Environment]] = field(default_factory=list)
    checks: list[tuple[int, str, Check]] = field(default_factory=list)
    rates: list[Rate] = field(default_factory=list)
    finished: str | None = None


def _add(run: _Run, line: bytes, name: str) -> None:
    """Take in one line after the first; `name` says which, for a refusal."""
    try:
        match to_storable(json.loads(line)):
            case {"claim": str(claim_id), "place": int(place), "check": check}:
                run.checks.append((place, claim_id, Check.model_validate(check)))
            case {"target": target, "environment": environment}:
                known = TargetFacts.model_validate(target)
                run.facts.append((known, Environment.model_validate(environment)))
            case {"rate": rate}:
                run.rates.append(Rate.model_validate(rate))
            case {"finished": str(moment)}:
                run.finished = moment
            case _:
                raise ValueError("neither a check nor facts nor a rate nor an end")
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{name} is damaged ({_first_line(error)}): remove that line to read the rest"
        ) from error


def _read_journal(path: Path) -> Record:
    _refuse_oversize(path)
    return read_lines(path)


def _read_record(path: Path) -> Record:
    _refuse_oversize(path)
    return _validated(_upgraded(_parsed(_bytes(path), path), path), path)


def _header(data: dict[str, Any], path: Path) -> Record:
    """A journal's first line. A journal is what one version left behind: it is not upgraded."""
    if _version(data, path) != SCHEMA_VERSION:
        raise UserError(
            f"'{path}' is a stopped run of an older version ({data.get('suite', 'unknown')}): "
            "turn it into a record with that version of probes"
        )
    return _validated(data, path)


def _parsed(raw: bytes, path: Path) -> dict[str, Any]:
    """The JSON object in a file or line."""
    if not raw.strip():
        raise UserError(f"'{path}' is empty: expected the record of a run")
    try:
        data = to_storable(json.loads(raw.decode("utf-8-sig")))
    except RecursionError as error:
        raise UserError(f"'{path}' is nested too deeply to be the record of a run") from error
    except json.JSONDecodeError as error:
        if raw.lstrip()[:1] == b"{" and _at_end(error):
            raise UserError(f"'{path}' is truncated: it ends in the middle of a record") from error
        raise UserError(f"'{path}' is not JSON: expected the record of a run") from error
    except ValueError as error:  # not UTF-8, or a number of thousands of digits
        raise UserError(f"'{path}' is not JSON: expected the record of a run") from error
    if not isinstance(data, dict) or "schema_version" not in data:
        raise UserError(f"'{path}' is not the record of a run: it states no schema_version")
    return data


def _at_end(error: json.JSONDecodeError) -> bool:
    """Whether the text ended before the JSON did."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(error.doc.rstrip()) - 1


def _version(data: dict[str, Any], path: Path) -> int:
    version = data["schema_version"]
    if type(version) is not int or version < 1:
        raise UserError(f"'{path}' is not the record of a run: schema_version is {version!r:.40}")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"'{path}' was written by a newer version of probes (format {version}, this one reads "
            f"up to {SCHEMA_VERSION}): upgrade probes to read it"
        )
    return version


def _upgraded(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """The data in the present format, reached step by step."""
    for version in range(_version(data, path), SCHEMA_VERSION):
        data = UPGRADES[version](data)
    return data


def _validated(data: dict[str, Any], path: Path) -> Record:
    try:
        record = Record.model_validate(data)
    except ValidationError as error:
        raise UserError(f"'{path}' is not the record of a run: {_first_line(error)}") from error
    except RecursionError as error:
        raise UserError(f"'{path}' is nested too deeply to be the record of a run") from error
    for claim_id, times in Counter(claim.id for claim in record.claims).items():
        if times > 1:
            raise UserError(
                f"'{path}' is not the record of a run: it has the claim {quote(claim_id)} "
                f"{times} times"
            )
    return record


def _first_line(error: Exception) -> str:
    """What is wrong, in a few words: of a validation error its first place and message."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        # A key is whatever the file says: it must neither fill a screen nor command a terminal.
        place = ".".join(quote(str(part)[:60], limit=999)[1:-1] for part in first["loc"])
        return f"{shorten(place, 200)}: {first['msg']}"
    return str(error)


def _refuse_oversize(path: Path) -> None:
    size = _size(path)
    if size > MAX_BYTES:
        raise UserError(
            f"'{path}' has {size / 2**20:,.0f} MiB; a record of more than "
            f"{MAX_BYTES // 2**20} MiB is not read"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}") from error


def _folders(folder: Path) -> list[Path]:
    try:
        return [child for child in folder.iterdir() if child.is_dir()]
    except OSError as error:
        raise UserError(f"'{folder}' cannot be read: {error.strerror}") from error


def _age(folder: Path) -> tuple[str, int, str]:
    """Sorts runs by their start; those of the same second in the order they began."""
    match = _RUN_NAME.fullmatch(folder.name)
    return (match[1], int(match[2] or 1), "") if match else ("", 0, folder.name)


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + (", …" if len(names) > 5 else "")
