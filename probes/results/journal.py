"""The journal of a run: every verdict is on the disk as soon as it is reached.

A run writes one line for each check, and at its end folds the lines into `record.json`. If it ends
before that, its journal holds all it had decided, which `read` makes an incomplete record of.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from probes._util.files import sync_folder, write_atomically
from probes._util.redaction import Redactor
from probes.errors import UserError
from probes.results.reading import JOURNAL_FILE, RECORD_FILE, read_journal
from probes.results.redact_record import redact
from probes.schema.record import Check, Environment, Rate, Record, TargetFacts

Publish = Callable[[Record, Path], None]

LONGEST_NAME = 60
"""Characters of a target's name that its folder keeps: 240 bytes at most, where 255 are allowed."""


class Journal:
    """One run being written, in `folder`: `REPORT-DIR/TARGET/UTC-TIME`.

    Every line is on the disk before the method that wrote it returns. Methods raise UserError where
    the disk is full or gone; what was written before is kept.
    """

    def __init__(self, folder: Path, redactor: Redactor) -> None:
        """Use `begin`, which makes the folder."""
        self.folder = folder
        self._redactor = redactor
        self._path = folder / JOURNAL_FILE
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._end = 0

    @classmethod
    def begin(cls, report_dir: Path, header: Record, target_folder: Path | None = None) -> Journal:
        """Make a folder for the run and write the plan `header` there, or raise UserError.

        `target_folder`, from which the target is loaded, is kept out of the record.
        """
        try:
            folder = _make_folder(report_dir, header)
            journal = cls(folder, Redactor.for_this_machine(target_folder))
            sync_folder(folder)
        except OSError as error:
            raise _unwritable(report_dir, error) from error
        claims = tuple(redact(journal._redactor, claim) for claim in header.claims)
        journal._write(header.model_copy(update={"claims": claims}).model_dump(mode="json"))
        return journal

    def write_check(self, claim_id: str, check: Check, place: int = 0) -> None:
        """Write one check of a claim, redacted; checks of one `place` keep their order."""
        stored = redact(self._redactor, check).model_dump(mode="json")
        self._write({"claim": claim_id, "place": place, "check": stored})

    def write_facts(self, target: TargetFacts, environment: Environment) -> None:
        """Write what is known of target and environment; later facts add to earlier ones."""
        facts = {"target": target, "environment": environment}
        self._write({name: fact.model_dump(mode="json") for name, fact in facts.items()})

    def write_rate(self, rate: Rate) -> None:
        """Write one measurement of throughput, redacted."""
        self._write({"rate": redact(self._redactor, rate).model_dump(mode="json")})

    def finish(self, finished: str, publish: Publish | None = None) -> Record:
        """Write the journal as a record, publish it, and remove the journal.

        `finished` is UTC in ISO 8601. `publish` writes into the run's folder what is made of the
        record.
        """
        self._write({"finished": finished})
        record = read_journal(self._path)
        try:
            os.close(self._handle)
            write_atomically(self.folder / RECORD_FILE, record.model_dump_json(indent=1) + "\n")
            if publish is not None:
                publish(record, self.folder)
            self._path.unlink()
        except OSError as error:
            raise self._incomplete(error) from error
        return record

    def _write(self, line: dict[str, Any]) -> None:
        """Append one line for good, or leave the journal as it was."""
        text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        rest = text.encode("utf-8") + b"\n"
        end = self._end + len(rest)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
            os.fsync(self._handle)
        except BaseException as error:  # an interruption must not leave half a line either
            os.lseek(self._handle, self._end, os.SEEK_SET)
            with suppress(OSError):  # what was written before is there, whatever a disk now refuses
                os.ftruncate(self._handle, self._end)
            if isinstance(error, OSError):
                raise self._incomplete(error) from error
            raise
        self._end = end

    def _incomplete(self, error: OSError) -> UserError:
        return UserError(
            f"the run cannot be written to '{self.folder}': {error.strerror or error}; what was "
            f"decided before is kept in {JOURNAL_FILE} there: make room, then "
            "'probes report' on that folder shows it"
        )


def check_writable(report_dir: Path) -> None:
    """Raise UserError, with what to do, if reports cannot be written; leave no trace."""
    folder = report_dir.absolute()
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        tempfile.TemporaryDirectory(dir=folder, prefix=".probes-").cleanup()
    except OSError as error:
        raise _unwritable(report_dir, error) from error


def _unwritable(report_dir: Path, error: OSError) -> UserError:
    return UserError(
        f"reports cannot be written to '{report_dir}': {error.strerror or error}; "
        "name another folder with --report-dir, or write none with --no-report"
    )


# --- the names of folders ------------------------------------------------------------------------

_RESERVED = {"aux", "con", "index.html", "nul", "prn"}
"""Names that another file has, or that Windows keeps for devices."""


def target_folder_name(name: str) -> str:
    """Return a target's name as a folder's, on any file system; a hub id's `/` becomes `--`.

    Any other changed name carries a short digest, so that two targets never share a folder.

    >>> target_folder_name("mistralai/Mistral-7B-v0.1")
    'mistralai--Mistral-7B-v0.1'
    >>> target_folder_name("../my model")
    'my-model-62c10f'
    """
    plain = name.replace("/", "--")
    safe = re.sub(r"[^\w.-]+", "-", plain).strip(".-")[:LONGEST_NAME]
    if safe and safe == plain and safe.lower() not in _RESERVED:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:6]
    return f"{safe or 'target'}-{digest}"


def _make_folder(report_dir: Path, header: Record) -> Path:
    """Make a folder that no other run has."""
    target = report_dir / target_folder_name(header.target.name)
    target.mkdir(parents=True, exist_ok=True)
    name, number = re.sub(r"[-:]", "", header.started), 1
    while True:
        folder = target / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            sync_folder(target)
            return folder
