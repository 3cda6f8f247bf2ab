"""Read a run: a finished record, or the journal of a run that was stopped.

The version is read before anything else is parsed. An older record is upgraded one step at a time;
a newer one is refused. For any file the result is a record or one clear line.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from probes._util.jsonfile import MEBIBYTE, parse_object, read_bytes, read_object
from probes._util.text import quote
from probes.errors import UserError
from probes.results.folding import fold_record
from probes.results.upgrades import UPGRADES
from probes.schema.base import format_validation_error
from probes.schema.record import (
    SCHEMA_VERSION,
    Check,
    Environment,
    Rate,
    Record,
    TargetFacts,
    to_storable,
)

RECORD_FILE = "record.json"
JOURNAL_FILE = "journal.jsonl"
REPORT_FILE = "report.html"

MAX_BYTES = 64 * MEBIBYTE
"""A larger file is not read."""

NO_RECORD = "is not the record of a run"

_RUN_NAME = re.compile(r"(\d{8}T\d{6}Z)(?:-(\d+))?")


def read(path: str | os.PathLike[str]) -> Record:
    """Return the record of a run, or raise UserError for a path without a readable one.

    The path leads to a `record.json`, a `journal.jsonl`, a run's folder (its record, else its
    journal), or a target's folder (its latest run).
    """
    file = locate(path)
    if file.suffix == ".jsonl":
        try:
            return read_journal(file, MAX_BYTES)
        except UserError:
            record = file.with_name(RECORD_FILE)
            if file.exists() or not record.is_file():
                raise
            file = record  # the run ended after the file was located
    return _validate(read_object(file, limit=MAX_BYTES), file)


def read_journal(path: Path, limit: float = math.inf) -> Record:
    """Return the record that the lines of a journal of at most `limit` bytes make.

    Raises UserError if it cannot be read, or a line before the last is damaged.
    """
    lines = read_bytes(path, limit).split(b"\n")
    lines.pop()  # what follows the last line break was torn while it was written
    if not lines:
        raise UserError(f"'{path}' holds no complete line: the run was stopped before it began")
    run = _Run(_read_header(lines[0], path))
    for number, line in enumerate(lines[1:], start=2):
        try:
            run.add(to_storable(json.loads(line)))
        except (ValueError, RecursionError) as error:
            problem = str(error)
            if isinstance(error, ValidationError):
                problem = format_validation_error(error)
            raise UserError(
                f"line {number} of '{path}' is damaged ({problem}): "
                "remove that line to read the rest"
            ) from error
    run.checks.sort(key=lambda check: check[0])  # workers finish in any order
    checks = [(claim_id, check) for _, claim_id, check in run.checks]
    return fold_record(run.header, run.facts, checks, run.finished, run.rates)


@dataclass
class _Run:
    """What the lines of a journal hold."""

    header: Record
    facts: list[tuple[TargetFacts, Environment]] = field(default_factory=list)
    checks: list[tuple[int, str, Check]] = field(default_factory=list)
    rates: list[Rate] = field(default_factory=list)
    finished: str | None = None

    def add(self, line: object) -> None:
        """Take in one line after the first; raise ValueError for one of no known kind."""
        match line:
            case {"claim": str(claim_id), "place": int(place), "check": check}:
                self.checks.append((place, claim_id, Check.model_validate(check)))
            case {"target": target, "environment": environment}:
                known = TargetFacts.model_validate(target)
                self.facts.append((known, Environment.model_validate(environment)))
            case {"rate": rate}:
                self.rates.append(Rate.model_validate(rate))
            case {"finished": str(moment)}:
                self.finished = moment
            case _:
                raise ValueError("neither a check nor facts nor a rate nor an end")


def _read_header(line: bytes, path: Path) -> Record:
    """Return a journal's plan. A journal of an older version is not upgraded."""
    data = parse_object(line, what=f"line 1 of '{path}'")
    if _version(data, path) != SCHEMA_VERSION:
        raise UserError(
            f"'{path}' is a stopped run of an older version ({data.get('suite', 'unknown')}): "
            "turn it into a record with that version of probes"
        )
    return _validate(data, path)


# --- where runs are ------------------------------------------------------------------------------


def locate(run: str | os.PathLike[str]) -> Path:
    """Return a run's file: its record, else its journal; raise UserError if there is no run.

    A folder of runs of one target alone stands for the latest of them.
    """
    path = Path(run)
    if not path.exists():
        raise UserError(
            f"no record at '{path}': name a record.json, a run's folder or a target's folder"
        )
    if not path.is_dir():
        return path
    for folder in [path, *run_folders(path)]:
        for name in (RECORD_FILE, JOURNAL_FILE):
            if (folder / name).is_file():
                return folder / name
    targets = sorted(child for child in _folders(path) if run_folders(child))
    if len(targets) == 1:
        return locate(targets[0])
    if targets:
        quoted = [f"'{child.name}'" for child in targets]
        names = ", ".join(quoted[:5]) + (", …" if len(quoted) > 5 else "")
        raise UserError(f"'{path}' holds runs of several targets: name one of {names}")
    raise UserError(
        f"no run in '{path}': it holds no {RECORD_FILE} and no {JOURNAL_FILE}, nor do its folders"
    )


def run_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that hold a run, the newest first."""
    return sorted(filter(_has_run, _folders(folder)), key=_age, reverse=True)


def _folders(folder: Path) -> list[Path]:
    try:
        return [child for child in folder.iterdir() if child.is_dir()]
    except OSError as error:
        raise UserError(f"cannot read '{folder}': {error.strerror}") from error


def _has_run(folder: Path) -> bool:
    """Return whether there is a record, or a journal with a first line, that may be looked at."""
    record = folder / RECORD_FILE
    try:
        return record.is_file() or (folder / JOURNAL_FILE).stat().st_size > 0
    except OSError:
        pass  # no journal, or its run has just ended: then there is a record
    try:
        return record.is_file()
    except OSError:  # another user's
        return False


def _age(folder: Path) -> tuple[str, int, str]:
    """Return a key that sorts runs by their start; those of one second in the order they began."""
    match = _RUN_NAME.fullmatch(folder.name)
    return (match[1], int(match[2] or 1), "") if match else ("", 0, folder.name)


# --- what files hold -----------------------------------------------------------------------------


def _version(data: dict[str, Any], path: Path) -> int:
    version = data.get("schema_version")
    if type(version) is not int or version < 1:
        raise UserError(f"'{path}' {NO_RECORD}: its schema_version is {quote(version)}")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"'{path}' was written by a newer version of probes (format {version}, this one reads "
            f"up to {SCHEMA_VERSION}): upgrade probes to read it"
        )
    return version


def _validate(data: dict[str, Any], path: Path) -> Record:
    try:
        for version in range(_version(data, path), SCHEMA_VERSION):
            data = UPGRADES[version](data)
        record = Record.model_validate(to_storable(data))
    except ValidationError as error:
        raise UserError(f"'{path}' {NO_RECORD}: {format_validation_error(error)}") from error
    except RecursionError as error:
        raise UserError(f"'{path}' {NO_RECORD}: it is nested too deeply") from error
    for claim_id, times in Counter(claim.id for claim in record.claims).items():
        if times > 1:
            raise UserError(
                f"'{path}' {NO_RECORD}: it has the claim {quote(claim_id)} {times} times"
            )
    return record
