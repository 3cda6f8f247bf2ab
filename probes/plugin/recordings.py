"""Recorded outputs as files: where they are, and when they are written.

The outputs of one test on one target in one environment are one file, TEST-FILE/TEST[KEY].json.
Those of targets that the project ships are in ``recorded`` beside the test; all others are in the
user's project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from probes._util.files import claims_folder, is_installed, write_atomically
from probes.errors import UserError
from probes.plugin import options
from probes.schema.recorded_output import (
    REMEDY,
    Provenance,
    Recording,
    dump_recording,
    parse_recording,
)
from probes.stats.near_tie import Finding, OutputStatus

SHIPPED = "recorded"
"""The folder of shipped files, beside the tests: in `__snapshots__` syrupy would delete them."""


def list_orphans(folder: Path) -> list[Path]:
    """Return the recorded outputs in a folder whose test no longer exists."""
    return [file for file in sorted(folder.glob("*/*[[]*")) if not _has_test(file)]


def _has_test(file: Path) -> bool:
    module = claims_folder() / f"{file.parent.name}.py"
    test = re.escape(file.name.partition("[")[0])
    source = module.read_text(encoding="utf-8") if module.is_file() else ""
    return re.search(rf"^def {test}\(", source, flags=re.MULTILINE) is not None


@dataclass(frozen=True)
class Recorded:
    """What is recorded of a target in one environment, for one test; `baseline` is None if nothing.

    `made` is what this run's outputs are made with. When `updating`, what differs is recorded
    again.
    """

    made: Provenance
    baseline: Recording | None
    updating: bool
    file: Path
    elsewhere: tuple[str, ...] = ()
    """In what ways other environments differ, for which the test has outputs of this target."""

    def settle(self, now: Recording, findings: list[Finding]) -> str:
        """Record the first outputs, new ones, and when updating all.

        `findings` compare what was recorded before. Returns the reason if nothing was compared,
        else an empty text.
        """
        old = self.baseline
        if old is None:
            done = f"{self._write(now, 'recorded')}, nothing to compare with: {self.made.words}"
            # A changed default, as of the dtype, begins a new file: name what is recorded.
            return "; ".join([done, *(f"recorded before with {each}" for each in self.elsewhere)])
        other = [f.name for f in findings if f.outcome is not OutputStatus.SAME]
        other += sorted(now.names ^ old.names)
        if self.updating and other:
            return f"{self._write(now, 'recorded again')}, so not compared: {', '.join(other)}"
        if now.names - old.names:
            self._write(old.completed_by(now), "recorded")
        return ""

    def _write(self, recording: Recording, done: str) -> str:
        """Write the file; return what was done, or why it was not."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, dump_recording(recording))
        except OSError as error:
            return f"not {done} ({type(error).__name__}: {error})"
        return done


def open_recorded(request: pytest.FixtureRequest, made: Provenance) -> Recorded:
    """Read what is recorded for a test in this environment.

    Raises UserError if the file is damaged or of another target, and is not to be replaced.
    """
    test: Any = request.node
    name = Path(test.path.stem) / f"{test.originalname}[{made.key}].json"
    shipped = test.path.parent / SHIPPED / name
    own = options.recorded_outputs(request.config) / name
    source = own if own.exists() or not shipped.exists() else shipped
    target = own if is_installed(shipped) else source
    updating = getattr(request.config.option, "update_snapshots", False)  # syrupy's option
    try:
        baseline = _read(source, made)
    except UserError:
        if not updating:
            raise
        baseline = None
    elsewhere = () if baseline else _list_elsewhere({own.parent, shipped.parent}, name, made)
    return Recorded(made, baseline, updating, target, elsewhere)


def _list_elsewhere(folders: Iterable[Path], name: Path, made: Provenance) -> tuple[str, ...]:
    """Describe what differs in the environments of other outputs of the test and the target."""
    test = name.name.partition("[")[0]
    found: set[str] = set()
    for file in (file for folder in folders for file in folder.glob(f"{test}[[]*].json")):
        try:
            other = parse_recording(file.read_text(encoding="utf-8"), file.name).made
        except (OSError, UnicodeDecodeError, UserError):
            continue  # what it holds is of another environment: nothing depends on it here
        differing = [
            f"{field} {getattr(other, field)}"
            for field in ("device", "dtype", "quantization", "attention")
            if getattr(other, field) != getattr(made, field)
        ]
        if other.target == made.target and differing:
            found.add(", ".join(differing))
    return tuple(sorted(found))


def _read(file: Path, made: Provenance) -> Recording | None:
    what = "/".join(file.parts[-3:])
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{what} cannot be read: {type(error).__name__}: {error}: {REMEDY}"
        ) from None
    found = parse_recording(text, what)
    if found.made.key != made.key:
        raise UserError(f"{what} holds outputs of {found.made.words}: {REMEDY}")
    return found
