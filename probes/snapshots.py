"""Recorded outputs as snapshots of syrupy: where they lie, when they are written, which are unused.

A snapshot is one file, ``__snapshots__/TEST-FILE/TEST[NAME].EXTENSION``. Those of other targets and
environments lie beside those of this run and are none of its business: only a file whose test is
gone is unused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syrupy.data import SnapshotCollections
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from probes.errors import UserError
from probes.recording import Finding, Made, Outcome, Recording, dump, parse

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion
    from syrupy.location import PyTestLocation
    from syrupy.types import SnapshotIndex


class NamedText(SingleFileSnapshotExtension):
    """A text file for each test and name."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        """The test's name, without the parameters that name the target, and the name given."""
        return f"{test_location.methodname}[{index}]"

    @classmethod
    def matches_test_location(
        cls, *, test_location: PyTestLocation, snapshot_location: str
    ) -> bool:
        """Whether a file is named for a test, whatever its parameters."""
        file = Path(snapshot_location)
        return (file.parent.name, file.name.partition("[")[0]) == (
            test_location.basename,
            test_location.methodname,
        )

    def discover_snapshots(self, **options: Any) -> SnapshotCollections:
        """The files whose test is gone, and no others: what nobody can use any more."""
        unused = SnapshotCollections()
        for collection in super().discover_snapshots(**options):
            if is_orphan(Path(collection.location)):
                unused.add(collection)
        return unused


class NamedJson(NamedText):
    """A JSON file for each test and name."""

    file_extension = "json"


def is_orphan(file: Path) -> bool:
    """Whether the test that a snapshot's file is named for is gone.

    >>> is_orphan(Path("__snapshots__/test_gone/test_it[name].json"))
    True
    """
    module = file.parents[2] / f"{file.parent.name}.py"
    if not module.is_file():
        return True
    test = re.escape(file.name.partition("[")[0])
    source = module.read_text(encoding="utf-8")
    return re.search(rf"^(async )?def {test}\(", source, flags=re.MULTILINE) is None


@dataclass
class Recorded:
    """What is recorded of a target for one test, and what is to become of it.

    Attributes:
        made: what outputs are made with in this run.
        baseline: what was recorded in this environment; None if nothing was.
        updating: whether what differs is to be recorded anew.
    """

    made: Made
    baseline: Recording | None
    updating: bool
    _snapshot: SnapshotAssertion

    def settle(self, now: Recording, findings: list[Finding]) -> str | None:
        """Keep, or replace, what is recorded.

        Args:
            now: the outputs of this run.
            findings: how they compare with the recorded ones; none where nothing is recorded.

        Returns:
            Why nothing was compared, where that is so.
        """
        if self.baseline is None and not self.updating:
            return (
                f"nothing is recorded for {self.made.words}, so nothing was compared: "
                "--snapshot-update records it"
            )
        if self.baseline is None:
            self._keep(now)
            return f"recorded, nothing to compare with: {self.made.words}"
        changed = [finding for finding in findings if finding.outcome is not Outcome.SAME]
        if self.updating and changed:
            self._keep(now)
            names = ", ".join(f"{finding.name!r} ({finding.outcome.value})" for finding in changed)
            return f"recorded anew, so nothing was compared: {names}"
        failed = any(not finding.outcome.holds for finding in findings)
        self._keep(now if failed else self.baseline)
        return None

    def _keep(self, recording: Recording) -> bool:
        """Tell syrupy: it writes what is new, or counts what is the same as before."""
        return bool(self._snapshot(name=self.made.key) == dump(recording))


def recorded(
    snapshot: SnapshotAssertion, made: Made, *, updating: bool, new_only: bool
) -> Recorded:
    """What is recorded for a test in this environment.

    Args:
        snapshot: syrupy's fixture.
        made: what outputs are made with in this run.
        updating: whether `--snapshot-update` was given.
        new_only: whether `--snapshot-update-new-only` was given.

    Raises:
        UserError: The file is damaged, and is not to be replaced.
    """
    snapshot = snapshot.use_extension(NamedJson)
    place = snapshot.extension.get_location(test_location=snapshot.test_location, index=made.key)
    try:
        baseline = _read(Path(place))
    except UserError:
        if not updating:
            raise
        baseline = None
    return Recorded(made, baseline, updating or (new_only and baseline is None), snapshot)


def _read(file: Path) -> Recording | None:
    if not file.exists():
        return None
    what = "/".join(file.parts[-3:])
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{what} cannot be read: {type(error).__name__}: {error}") from None
    return parse(text, what)
