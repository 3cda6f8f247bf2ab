"""A run in progress: what workers report, written down for each target as it comes.

Workers turn each check into a `Message`; the controller (or the one process there is) takes
messages in, keeps a journal a target, and makes the records at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from probes._util.redaction import Redactor
from probes.errors import UserError
from probes.results.folding import fold_record
from probes.results.journal import Journal
from probes.results.redact_record import redact_record
from probes.schema.record import (
    Check,
    Environment,
    Rate,
    Record,
    TargetFacts,
    Verdict,
    utc_now,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probes.schema.comparison import Comparison


class Plan(BaseModel):
    """What is about to be decided on one target."""

    model_config = ConfigDict(frozen=True)

    header: Record
    """The record to be, with planned claims and no evidence."""
    folder: Path
    """Where the target is loaded from, to be kept out of the record."""


class Expected(BaseModel):
    """One check about to be made: what there is to say of it if its process ends without a word."""

    model_config = ConfigDict(frozen=True)

    target: str
    claim: str
    name: str
    place: int


LOST = (
    "the worker that made this check was killed, perhaps for want of memory, or crashed: "
    "decide the claim alone, without -n, to see why"
)
"""Why a check ended in an error that its own process could not report."""


class Message(BaseModel):
    """What one test found, as it travels from its process to the one that writes it down."""

    model_config = ConfigDict(frozen=True)

    target: str
    claim: str = ""
    check: Check | None = None
    """Of a test that decides a claim: its check."""
    place: int = 0
    """Where it stands among all checks as they were collected: workers finish in any order."""
    rates: tuple[Rate, ...] = ()
    """Of a test that measures throughput: what it measured."""
    facts: tuple[TargetFacts, Environment] | None = None
    """What became known of the model, where that changed since the last message."""
    plans: tuple[Plan, ...] = ()
    """In a worker's first message: all that it is about to decide."""
    expected: dict[str, Expected] = Field(default_factory=dict)
    """In a worker's first message, by the test's id: the checks it may be given to make."""
    unusable: str | None = None
    """Why nothing more can be decided on the target, if it could not be loaded."""


class Run:
    """The records of a run, one a target.

    Attributes:
        records: the finished records, in the order their targets came.
        folders: where the records are written, by target; empty if nothing is to be written.
        comparisons: each record against its baseline, by target, where there is one.
    """

    def __init__(
        self, report_dir: Path | None, baselines: Mapping[str, Record] | None = None
    ) -> None:
        """Write records below `report_dir`, or none if it is None.

        Args:
            report_dir: where to.
            baselines: by target, an earlier run to compare its record with.
        """
        self.comparisons: dict[str, Comparison] = {}
        self._baselines = baselines or {}
        self.records: list[Record] = []
        self.folders: dict[str, Path] = {}
        self._report_dir = report_dir
        self._journals: dict[str, Journal] = {}
        self._redactors: dict[str, Redactor] = {}
        self._headers: dict[str, Record] = {}
        self._facts: dict[str, list[tuple[TargetFacts, Environment]]] = {}
        self._checks: dict[str, list[tuple[int, str, Check]]] = {}
        self._rates: dict[str, list[Rate]] = {}
        self._expected: dict[str, Expected] = {}
        self._lost: list[str] = []

    def take(self, message: Message) -> None:
        """Write down what one message says, before anything else happens.

        Raises:
            UserError: if it cannot be written; what was written before is still there.
        """
        for plan in message.plans:
            self._begin(plan)
        journal = self._journals.get(message.target)
        if message.check is not None:
            self._checks[message.target].append((message.place, message.claim, message.check))
            if journal is not None:
                journal.write_check(message.claim, message.check, message.place)
        for rate in message.rates:
            self._rates[message.target].append(rate)
            if journal is not None:
                journal.write_rate(rate)
        if message.facts is not None:
            self._facts[message.target].append(message.facts)
            if journal is not None:
                journal.write_facts(*message.facts)
        self._expected |= message.expected
        if message.expected:
            self._take_lost()

    def lose(self, test: str) -> None:
        """Write down as an error the check of a test whose worker died under it.

        Raises:
            UserError: if it cannot be written; what was written before is still there.
        """
        self._lost.append(test)
        self._take_lost()

    def _take_lost(self) -> None:
        """The first worker to die may do so before any has said what it is about to decide."""
        known = [self._expected[test] for test in self._lost if test in self._expected]
        self._lost = [test for test in self._lost if test not in self._expected]
        for test in known:
            told = self._checks[test.target]
            if not any((place, claim) == (test.place, test.claim) for place, claim, _ in told):
                check = Check(name=test.name, verdict=Verdict.ERROR, reason=LOST)
                self.take(
                    Message(target=test.target, claim=test.claim, check=check, place=test.place)
                )

    def finish(self) -> None:
        """Close every journal and make the records.

        Raises:
            UserError: if a record cannot be written, after all others were; its journal is still
                there.
        """
        finished = utc_now()
        refusals = [self._finish(target, finished) for target in self._headers]
        for refusal in refusals:
            if refusal is not None:
                raise refusal

    def _finish(self, target: str, finished: str) -> UserError | None:
        try:
            self.records.append(self._finished(target, finished))
        except UserError as error:
            return error
        return None

    def _finished(self, target: str, finished: str) -> Record:
        if target in self._journals:
            return self._journals[target].finish(finished, self._publish)
        checks = sorted(self._checks[target], key=lambda check: check[0])
        record = fold_record(
            self._headers[target],
            self._facts[target],
            [(claim_id, check) for _, claim_id, check in checks],
            finished,
            self._rates[target],
        )
        record = redact_record(
            self._redactors[target], record
        )  # a summary is stored, and shared, too
        self._against_baseline(record)
        return record

    def _publish(self, record: Record, folder: Path) -> None:
        from probes.report.files import write_report  # templates and charts take their time

        write_report(record, folder, self._against_baseline(record))

    def _against_baseline(self, record: Record) -> Comparison | None:
        """The record against its baseline, if it has one: of the claims that this run decides."""
        baseline = self._baselines.get(record.target.name)
        if baseline is None:
            return None
        from probes.compare.records import compare  # scipy takes its time

        comparison = compare(baseline, record, decided_now=True)
        self.comparisons[record.target.name] = comparison
        return comparison

    def _begin(self, plan: Plan) -> None:
        target = plan.header.target.name
        if target in self._headers:  # another worker was first
            return
        if self._report_dir is not None:
            journal = Journal.begin(self._report_dir, plan.header, plan.folder)
            self._journals[target] = journal
            self.folders[target] = journal.folder
        else:
            self._redactors[target] = Redactor.for_this_machine(plan.folder)
        self._headers[target] = plan.header
        self._facts[target], self._checks[target], self._rates[target] = [], [], []
