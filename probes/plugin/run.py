"""A run in progress: the messages of workers, written for each target as they come.

Workers turn each check into a `Message`; the controller (or the only process) adds messages to the
run, which keeps a journal for each target and makes the records at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from probes._util.redaction import Redactor
from probes.compare.last_run import SinceLast, compare_with_last
from probes.errors import UserError
from probes.results.folding import fold_record
from probes.results.journal import Journal
from probes.results.redact_record import redact_record
from probes.schema.comparison import Comparison, Outcome
from probes.schema.record import Check, Environment, Rate, Record, TargetFacts, Verdict, utc_now


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True)


class Plan(_Sent):
    """What is about to be decided on one target."""

    header: Record
    """The record to be, with planned claims and no evidence."""
    folder: Path | None
    """Where the target is loaded from, to be kept out of the record; None for an address."""


class Expected(_Sent):
    """One check about to be made: what is reported of it if its process dies."""

    targets: tuple[str, ...]
    claim: str
    name: str
    place: int


LOST = (
    "the worker that made this check was killed, perhaps for want of memory, or crashed: "
    "decide the claim alone, without -n, to see why"
)
"""Why a check ended in an error that its own process could not report."""


class Message(_Sent):
    """What one test found about one target, as it travels to the process that writes it down."""

    target: str
    claim: str = ""
    check: Check | None = None
    """Of a test that decides a claim: its check."""
    place: int = 0
    """The check's place among all, in the order of collection: workers finish in any order."""
    rates: tuple[Rate, ...] = ()
    """Of a test that measures throughput: what it measured."""
    facts: tuple[TargetFacts, Environment] | None = None
    """What became known of the model, where that changed since the last message."""
    plans: tuple[Plan, ...] = ()
    """In a worker's first message: all that it is about to decide."""
    expected: dict[str, Expected] = Field(default_factory=dict)
    """In a worker's first message, by the test's id: the checks that it may make."""
    unusable: str | None = None
    """Why nothing more can be decided on the target, if it could not be loaded."""


class _TargetRun:
    """What is known of a run on one target; nothing is written if `journal` is None."""

    def __init__(self, plan: Plan, report_dir: Path | None) -> None:
        self.journal: Journal | None = None
        if report_dir is not None:
            self.journal = Journal.begin(report_dir, plan.header, plan.folder)
        self._plan = plan
        self._facts: list[tuple[TargetFacts, Environment]] = []
        self._checks: list[tuple[int, str, Check]] = []
        self._rates: list[Rate] = []

    def add(self, message: Message) -> None:
        if message.check is not None:
            self._checks.append((message.place, message.claim, message.check))
            if self.journal is not None:
                self.journal.write_check(message.claim, message.check, message.place)
        for rate in message.rates:
            self._rates.append(rate)
            if self.journal is not None:
                self.journal.write_rate(rate)
        if message.facts is not None:
            self._facts.append(message.facts)
            if self.journal is not None:
                self.journal.write_facts(*message.facts)

    def has_check(self, place: int) -> bool:
        return any(known == place for known, _, _ in self._checks)

    def record(self, finished: str) -> Record:
        """Return the record of a run that is not written; a summary of it may be shared."""
        checks = sorted(self._checks, key=lambda check: check[0])
        named = [(claim_id, check) for _, claim_id, check in checks]
        record = fold_record(self._plan.header, self._facts, named, finished, self._rates)
        return redact_record(Redactor.for_this_machine(self._plan.folder), record)


class Run:
    """The finished records of a run, and by target their comparisons with earlier runs, if any.

    `comparisons` are with baselines. A target without one is compared with its last run in the
    report folder, which decides nothing: `since_last`.
    """

    def __init__(
        self, report_dir: Path | None, baselines: Mapping[str, Record] | None = None
    ) -> None:
        """Write records below `report_dir`, or none; compare them with earlier runs, by target."""
        self.records: list[Record] = []
        self.comparisons: dict[str, Comparison] = {}
        self.since_last: dict[str, SinceLast] = {}
        self._report_dir = report_dir
        self._baselines = baselines or {}
        self._targets: dict[str, _TargetRun] = {}
        self._expected: dict[str, Expected] = {}
        self._crashed: list[str] = []

    @property
    def folders(self) -> dict[str, Path]:
        """Where the records are written, by target; empty if nothing is to be written."""
        return {
            name: target.journal.folder
            for name, target in self._targets.items()
            if target.journal is not None
        }

    def uncompared(self) -> list[str]:
        """Return the targets that have a baseline, and no record in this run."""
        return [name for name in self._baselines if name not in self.comparisons]

    def has_changed(self, outcomes: Collection[Outcome]) -> bool:
        """Return whether the run differs from its baselines by one of these outcomes."""
        missing = self.uncompared() and Outcome.NOT_COMPARABLE in outcomes
        return bool(missing) or any(
            comparison.outcomes & set(outcomes) for comparison in self.comparisons.values()
        )

    def add(self, message: Message) -> None:
        """Write one message; if that raises UserError, what was written before is kept."""
        for plan in message.plans:
            name = plan.header.target.name
            if name not in self._targets:  # else another worker was first
                self._targets[name] = _TargetRun(plan, self._report_dir)
        self._targets[message.target].add(message)
        if message.expected:
            self._expected |= message.expected
            self._add_known_crashes()

    def add_crash(self, test: str) -> None:
        """Write the check of a test whose worker died as an error; may raise UserError as `add`."""
        self._crashed.append(test)
        self._add_known_crashes()

    def _add_known_crashes(self) -> None:
        """Add expected crashes: the first worker may die before any has announced a check."""
        known = [self._expected[test] for test in self._crashed if test in self._expected]
        self._crashed = [test for test in self._crashed if test not in self._expected]
        for test in known:
            check = Check(name=test.name, verdict=Verdict.ERROR, reason=LOST)
            for target in test.targets:
                if not self._targets[target].has_check(test.place):
                    self.add(
                        Message(target=target, claim=test.claim, check=check, place=test.place)
                    )

    def finish(self) -> None:
        """Close every journal and make the records.

        Raises UserError if a record cannot be written. All others are written before, and its
        journal is kept.
        """
        finished = utc_now()
        errors, listed = [], False
        try:
            for number, target in enumerate(self._targets.values(), start=1):
                is_last = number == len(self._targets)
                try:
                    self.records.append(self._finish(target, finished, is_last=is_last))
                    listed = is_last
                except UserError as error:
                    errors.append(error)
        finally:
            if not listed:
                self._list_runs()
        if errors:
            raise errors[0]

    def _finish(self, target: _TargetRun, finished: str, *, is_last: bool) -> Record:
        if target.journal is not None:
            return target.journal.finish(finished, partial(self._publish, is_last=is_last))
        record = target.record(finished)
        self._compare(record)
        return record

    def _publish(self, record: Record, folder: Path, *, is_last: bool) -> None:
        from probes.report.files import write_report  # templates and charts take their time

        baseline = self._compare(record)
        last = None if baseline else self._compare_with_last(record, folder)
        # The list of runs shows pictures of all targets: one drawing of them is enough.
        write_report(
            record, folder, baseline, None if last is None else last.comparison, listed=is_last
        )

    def _list_runs(self) -> None:
        if self._report_dir is not None and self.records:
            from probes.report.files import refresh_index

            with suppress(OSError):
                refresh_index(self._report_dir)

    def _compare(self, record: Record) -> Comparison | None:
        """Compare a record with its baseline, if it has one: the claims that this run decides."""
        baseline = self._baselines.get(record.target.name)
        if baseline is None:
            return None
        from probes.compare.records import compare  # scipy takes its time

        comparison = compare(baseline, record, decided_now=True)
        self.comparisons[record.target.name] = comparison
        return comparison

    def _compare_with_last(self, record: Record, folder: Path) -> SinceLast | None:
        with warnings.catch_warnings():  # it is unasked: no filter of warnings may end the run
            warnings.simplefilter("ignore")
            found = compare_with_last(record, folder)
        if found is not None:
            self.since_last[record.target.name] = found
        return found
