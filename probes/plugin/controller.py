"""The hooks of the process that writes records: the controller of workers, or the only process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probes._util.files import write_output
from probes.errors import UserError
from probes.plugin import devices, options, terminal, workers
from probes.plugin.budget import has_left_out
from probes.plugin.exit_status import exit_code
from probes.plugin.run import Message, Run
from probes.plugin.session import session_of
from probes.plugin.shutdown import Shutdown
from probes.plugin.summary import has_decided
from probes.report.text.markdown import escape, summarize_comparison, summarize_run
from probes.report.text.since import describe_since
from probes.results.reading import read
from probes.schema.comparison import parse_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from _pytest.terminal import TerminalReporter

    from probes.schema.record import Record


class Controller:
    """Writes each message down as it comes, and decides how the run ends."""

    NAME = "probes-controller"

    def __init__(self, config: pytest.Config) -> None:
        """Read the baselines before the run writes its own records.

        Raises UserError if a baseline or `--fail-on` is wrong.
        """
        self._config = config
        self._session = session_of(config)
        self._fail_on = parse_outcomes(config.option.fail_on)
        self.run = Run(options.report_dir(config), _read_baselines(config))
        self._refusal: Sequence[str] = ()
        self._stoppable: list[Any] = []
        self._shutdown = Shutdown(lambda: self._stop("SIGTERM"))
        self._stopped_by = ""
        self._not_appended = ""

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Remember what to stop where going on is useless; watch for signals."""
        self._stoppable = [session, self._config.pluginmanager.getplugin("dsession")]
        self._shutdown.watch()

    def pytest_unconfigure(self) -> None:
        """Restore the signal handlers."""
        self._shutdown.restore()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Send a worker the targets that are left out, its CUDA device, and expected costs."""
        available = devices.list_devices(self._session.targets.values(), os.environ)
        device = devices.device_of(node.gateway.id, available)
        workers.send_input(node, self._session.left_out, device, self._session.earlier_costs)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Accept a worker's refusal; restart no worker during shutdown."""
        if (refusal := workers.refusal_of(node)) is not None:
            self._refuse(refusal)
        self._shutdown.raise_pending()

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str) -> None:
        """Record the test under which a worker died as an error.

        During shutdown the signal killed it: a run is ended together with its workers.
        """
        self._shutdown.raise_pending()
        self._refuse_if(self.run.add_crash, crashitem)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write down what a worker, or this process, found out."""
        for text in getattr(report, "probes_messages", ()):
            if self._refusal:
                return
            message = Message.model_validate_json(text)
            self._refuse_if(self.run.add, message)
            if message.unusable is not None:
                self._refuse(message.unusable)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """Start the end of an interrupted run, which a second signal must not break off."""
        self._shutdown.begin()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the records, and set the exit code.

        The records before other plugins wait for workers: the sender of SIGTERM may not give that
        time. The exit code after other plugins, as they change it, and before pytest shows it.
        """
        self._shutdown.begin()
        self._refuse_if(self.run.finish)
        self._refuse_if(self._write_summaries)
        try:
            return (yield)
        except Warning:  # made an error by the user's filter
            interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
            if not (interrupted or self._shutdown.terminated or self._shutdown.interrupted):
                raise
            return None  # what another plugin misses after an interruption is expected
        finally:
            self._set_exit_status(session)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: TerminalReporter
    ) -> Generator[None, object, object]:
        """Show the verdicts and where the report is, after everything else."""
        result = yield
        terminal.show_results(
            terminalreporter, self.run, refusal=self._refusal, stopped_by=self._stopped_by
        )
        if self._not_appended:
            terminalreporter.write_line(self._not_appended, yellow=True)
        return result

    # --- the end of the run ----------------------------------------------------------------------

    def _set_exit_status(self, session: pytest.Session) -> None:
        if self._shutdown.terminated:
            self._stopped_by = "SIGTERM"
        elif session.exitstatus == pytest.ExitCode.INTERRUPTED:
            self._stopped_by = "an interruption"
        records = self.run.records
        if not records and session.exitstatus != pytest.ExitCode.USAGE_ERROR:
            self._refuse_if(self._session.refuse_nothing)
        session.exitstatus = exit_code(
            session.exitstatus,
            refused=bool(self._refusal),
            terminated=self._shutdown.terminated,
            interrupted=self._shutdown.interrupted,
            undecided=bool(records) and not has_decided(records),
            changed=self.run.has_changed(self._fail_on),
            left_out=has_left_out(records),
        )

    def _write_summaries(self) -> None:
        """Write the summary where `--summary` says, and where a job on GitHub shows it."""
        text = "\n".join(map(self._summarize, self.run.records))
        file, job = options.summary_file(self._config), os.environ.get(options.JOB_SUMMARY)
        if job and text:
            self._append(Path(job), text)
        if file is not None and text:
            write_output(file, text, "summary", "--summary")

    def _summarize(self, record: Record) -> str:
        comparison = self.run.comparisons.get(record.target.name)
        text = summarize_run(record, terminal.report_path(self._config, self.run, record))
        if comparison is not None:
            return f"{text}\n{summarize_comparison(comparison)}"
        last = self.run.since_last.get(record.target.name)
        if last is None or last.comparison is None:
            return text
        return f"{text}\n{escape(describe_since(last.comparison))}\n"

    def _append(self, file: Path, text: str) -> None:
        """Add to a job's summary; no user asked for it, so a failure is only mentioned."""
        try:
            with file.open("a", encoding="utf-8", newline="\n") as job:
                job.write(f"{text}\n")
        except OSError as error:
            reason = error.strerror or error
            self._not_appended = f"no summary in {options.JOB_SUMMARY}: {reason}"

    def _refuse_if(self, function: Callable[..., None], *args: Any) -> None:
        try:
            function(*args)
        except UserError as error:
            self._refuse(*error.lines)

    def _refuse(self, *reason: str) -> None:
        """Stop the run, as nothing more can be decided or written."""
        self._refusal = self._refusal or reason
        self._stop("the run cannot go on: see the last line")

    def _stop(self, why: str) -> None:
        for each in self._stoppable:
            if each is not None:
                each.shouldstop = why


def _read_baselines(config: pytest.Config) -> dict[str, Record]:
    """Return the records that `--baseline` names, by target."""
    baselines: dict[str, Record] = {}
    here, targets = config.invocation_params.dir, session_of(config).targets
    for path in config.option.baseline or []:
        record = read(here / path)
        name = record.target.name
        if name not in targets:
            raise UserError(
                f"the baseline '{path}' is a run on {name!r}, and this one is on "
                f"{', '.join(map(repr, targets))}: name a run on the same target"
            )
        if name in baselines:
            raise UserError(f"two baselines are runs on {name!r}: name one a target")
        baselines[name] = record
    if config.option.fail_on is not None and not baselines:
        raise UserError("--fail-on says what counts as a change from a --baseline: name one")
    return baselines
