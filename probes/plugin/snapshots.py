"""Where recorded outputs lie, and when they are written: a small extension of syrupy.

A snapshot is one file, ``__snapshots__/TEST-FILE/TEST[NAME].EXTENSION``, beside the test file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syrupy.data import SnapshotCollections
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from probes._util.files import write_atomically
from probes.errors import UserError
from probes.schema.recorded_output import (
    REMEDY,
    Provenance,
    Recording,
    dump_recording,
    parse_recording,
)
from probes.stats.near_tie import Finding, OutputStatus

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion
    from syrupy.data import SnapshotCollection
    from syrupy.location import PyTestLocation
    from syrupy.types import SnapshotIndex


class TextFile(SingleFileSnapshotExtension):
    """A text file for each test and name, whatever the test's parameters."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        """The test's name and the name given."""
        return f"{test_location.methodname}[{index}]"

    @classmethod
    def matches_test_location(
        cls, *, test_location: PyTestLocation, snapshot_location: str
    ) -> bool:
        """Whether a file is named for a test."""
        return Path(snapshot_location).name.startswith(f"{test_location.methodname}[")

    def discover_snapshots(self, **_: Any) -> SnapshotCollections:
        """None: what a run did not use is of another target or environment, and not unused.

        syrupy would call it unused, and delete it when updating; see `orphans`.
        """
        return SnapshotCollections()

    def read_snapshot_data_from_location(self, *, snapshot_location: str, **_: Any) -> str | None:
        """A file's text; one that is no UTF-8 differs from any text, so that it can be replaced."""
        file = Path(snapshot_location)
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else None

    @classmethod
    def write_snapshot_collection(
        cls, *, snapshot_collection: SnapshotCollection, **_: Any
    ) -> None:
        """Write a file that is there whole or not at all."""
        data = next(iter(snapshot_collection)).data
        write_atomically(Path(snapshot_collection.location), str(data))


class JsonFile(TextFile):
    """The same, as JSON."""

    file_extension = "json"


def orphans(folder: Path) -> list[Path]:
    """Snapshots below a folder of tests that nothing can use any more: their test is gone."""
    return [file for file in sorted(folder.glob("__snapshots__/*/*[[]*")) if not _has_test(file)]


def _has_test(snapshot: Path) -> bool:
    module = snapshot.parents[2] / f"{snapshot.parent.name}.py"
    test = re.escape(snapshot.name.partition("[")[0])
    source = module.read_text(encoding="utf-8") if module.is_file() else ""
    return re.search(rf"^def {test}\(", source, flags=re.MULTILINE) is not None


@dataclass
class Recorded:
    """What is recorded of a target in one environment, for one test.

    Attributes:
        made: what outputs are made with in this run.
        baseline: what was recorded; None if nothing was.
        updating: whether what differs is to be recorded anew.
    """

    made: Provenance
    baseline: Recording | None
    updating: bool
    _snapshot: SnapshotAssertion

    def settle(self, now: Recording, findings: list[Finding]) -> str:
        """Write what is to be recorded: the first outputs, new ones, and when updating all.

        Args:
            now: the outputs of this run.
            findings: how those that were recorded before compare.

        Returns:
            Why nothing was compared; empty where something was.
        """
        old = self.baseline
        if old is None:
            return f"{self._write(now, 'recorded')}, nothing to compare with: {self.made.words}"
        other = [f.name for f in findings if f.outcome is not OutputStatus.SAME]
        other += sorted(now.names ^ old.names)
        if self.updating and other:
            return f"{self._write(now, 'recorded anew')}, so not compared: {', '.join(other)}"
        if now.names - old.names:
            self._write(old.completed_by(now), "recorded")
        else:
            self._count(old if all(f.holds for f in findings) else now)
        return ""

    def _write(self, recording: Recording, done: str) -> str:
        """Let syrupy write; what is done then, or why it is not."""
        self._snapshot.update_snapshots = True
        self._count(recording)
        error = self._snapshot.executions[self._snapshot.num_executions - 1].exception
        return done if error is None else f"not {done} ({type(error).__name__}: {error})"

    def _count(self, recording: Recording) -> None:
        """Show syrupy what it is to compare with the file, or to write."""
        _ = self._snapshot(name=self.made.key) == dump_recording(recording)


def recorded(snapshot: SnapshotAssertion, made: Provenance) -> Recorded:
    """What is recorded for a test in this environment.

    Args:
        snapshot: syrupy's fixture.
        made: what outputs are made with in this run.

    Raises:
        UserError: The file is damaged, or of another target, and is not to be replaced.
    """
    snapshot = snapshot.use_extension(JsonFile)
    updating = snapshot.update_snapshots
    file = Path(
        snapshot.extension.get_location(test_location=snapshot.test_location, index=made.key)
    )
    try:
        baseline = _read(file, made)
    except UserError:
        if not updating:
            raise
        baseline = None
    return Recorded(made, baseline, updating, snapshot)


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
