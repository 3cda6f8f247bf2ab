"""Compare a run with the last one of the same target in its report folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.errors import UserError
from probes.results.index import Run, list_runs_of_target
from probes.results.journal import target_folder_name
from probes.results.reading import RECORD_FILE, read
from probes.schema.comparison import Comparison
from probes.schema.record import OPEN, UNKNOWN, Record, TargetFacts

SAME_TARGET = (
    *("fingerprint", "address", "served_model", "quantization", "dtype", "device"),
    "reference",
)
"""Facts by which two runs of one name are about the same target, as far as both know them."""


@dataclass(frozen=True)
class SinceLast:
    """What a run found against the last one."""

    comparison: Comparison | None = None
    folder: Path | None = None
    """The last run's, if they were compared."""
    note: str = ""
    """Why the two were not compared, or an earlier run was taken, as one line."""


def compare_with_last(record: Record, folder: Path) -> SinceLast | None:
    """Compare the record in a run's folder with the last run beside it; None if there is none.

    The last run is the newest finished one of the same target that decided at least half of the
    claims decided now, or else any of them. An earlier run that cannot be read or is about
    something else is no error: it is noted.
    """
    if folder.parent.name != target_folder_name(record.target.name):
        return None  # it was moved, and what is beside it may be anything
    report_dir = folder.parent.parent
    runs = [
        run
        for run in list_runs_of_target(folder.parent)
        if run.started <= record.started
        and report_dir / run.folder != folder
        and (report_dir / run.folder / RECORD_FILE).is_file()
    ]
    if not runs:
        return None
    note = "" if runs[0].readable else _describe_unreadable(report_dir / runs[0].folder)
    named = [
        (run, _find_difference(run.facts, record.target) or _find_other_seed(run, record))
        for run in runs
        if run.facts is not None and run.target == record.target.name
    ]
    last = _choose([run for run, difference in named if not difference], record)
    if last is None:
        for run, difference in named:
            if difference and not note:
                note = f"not compared with the run of {run.started}: {difference}"
        return SinceLast(note=note) if note else None
    from probes.compare.records import compare  # numpy and scipy take their time

    path = report_dir / last.folder
    try:
        found = compare(read(path), record, decided_now=True)
    except (OSError, UserError, ValueError, ArithmeticError) as error:
        return SinceLast(note=note or f"not compared with '{path}': {error}")
    return SinceLast(found, path, note)


def _describe_unreadable(folder: Path) -> str:
    try:
        read(folder)
    except (OSError, UserError) as error:
        return f"not compared with the last run: {error}"
    return ""  # it was being written when the runs were listed


def _find_difference(old: TargetFacts, new: TargetFacts) -> str:
    """Return the first fact by which two targets of one name differ; empty if none does."""
    for name in SAME_TARGET:
        then, now = getattr(old, name), getattr(new, name)
        if then in UNKNOWN or now in UNKNOWN:
            continue
        if name == "device":  # workers have devices of their own: `cuda:1` is as good as `cuda:0`
            then, now = then.partition(":")[0], now.partition(":")[0]
        if then != now:
            if name == "fingerprint":
                return "the model's files are not the same"
            return f"{name.replace('_', ' ')} {then} then, {now} now"
    return ""


def _find_other_seed(run: Run, record: Record) -> str:
    if run.seed == record.seed or None in (run.seed, record.seed):
        return ""
    return f"seed {run.seed} then, {record.seed} now"


def _choose(runs: Sequence[Run], record: Record) -> Run | None:
    """Return the newest run that decided half of what this one did, or else any of it."""
    now = [claim.id for claim in record.claims if claim.verdict not in OPEN]
    shared = [sum(run.verdicts.get(claim) not in OPEN for claim in now) for run in runs]
    for least in (max(1, (len(now) + 1) // 2), 1):
        for run, count in zip(runs, shared, strict=True):
            if count >= least:
                return run
    return None
