"""What a run says on a terminal while it goes on: how long it takes, and what a slow check does."""

from __future__ import annotations

import math
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from probes.plugin import workers
from probes.plugin.collection import name_of, state_of, target_parameter
from probes.plugin.session import session_of
from probes.plugin.slow_step import Progress, SlowStep, format_about
from probes.report.text.phrases import format_count
from probes.report.visible import make_visible

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from _pytest.terminal import TerminalReporter

SLOW = 5.0
"""Seconds from which a check is shown."""

WORTH_SAYING = 10.0
"""Seconds to go from which a run says so."""

WRONG = 1.5
"""Times by which a run's estimated time may be wrong before it is said again."""

_CI = ("CI", "BUILD_NUMBER")
"""Variables that pytest, too, takes for a sign of continuous integration."""


def is_watched(config: pytest.Config) -> bool:
    """Return whether someone watches this process's tests on a terminal, and not with `-q`."""
    terminal = config.pluginmanager.getplugin("terminalreporter")
    option = config.option
    return bool(
        terminal is not None
        and terminal.isatty
        and os.isatty(1)
        and os.environ.get("TERM") != "dumb"
        and not any(map(os.environ.get, _CI))
        and option.verbose >= 0
        and getattr(option, "capture", "no") in ("fd", "sys")
        and not (getattr(option, "setupshow", False) or _logs_live(config))
        and not (getattr(option, "usepdb", False) or getattr(option, "trace", False))
        and not (workers.is_worker(config) or workers.workers_to_start(config))
    )


def _logs_live(config: pytest.Config) -> bool:
    """Return whether pytest writes log messages to the terminal as they come."""
    plugin: Any = config.pluginmanager.getplugin("logging-plugin")
    return plugin is not None and bool(plugin._log_cli_enabled())


class Watch:
    """The hooks that write to a terminal while tests run."""

    NAME = "probes-watch"

    def __init__(self, config: pytest.Config) -> None:
        """Write to what is the terminal before any test's output is captured."""
        self._terminal: TerminalReporter = config.pluginmanager.getplugin("terminalreporter")
        self._session = session_of(config)
        self._said: dict[str, float] = {}
        self._missing: dict[tuple[str, tuple[str, ...]], bool] = {}
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
        writer = self._terminal._tw
        self.slow_step = SlowStep(
            Console(file=self._file, force_terminal=True, highlight=False, width=writer.fullwidth),
            lambda: writer.width_of_current_line % writer.fullwidth,
            SLOW,
        )

    def pytest_unconfigure(self) -> None:
        """Close the terminal's copy."""
        self._file.close()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Show a check that takes long; say how long the others will take."""
        with self.slow_step.watch(lambda: self._describe(item)):
            result = yield
        self._say_how_long(item)
        return result

    def pytest_enter_pdb(self) -> None:
        """Leave the terminal to a debugger, for the rest of the check."""
        self.slow_step.stop()

    def _describe(self, item: pytest.Item) -> Progress:
        """Return what a check does; called in a thread while it runs."""
        state, target = state_of(item), target_parameter(item)
        if state.claim is None or not state.targets:
            return Progress(make_visible(item.name))
        done = ""
        if target is not None and state.cost_before is not None:
            cost = self._session.cost(target) - state.cost_before
            done = format_count(cost.forward_passes, "pass") if cost.forward_passes else ""
        name = make_visible(f"{state.claim.id}: {name_of(item).removeprefix('test_')}")
        forecast = self._session.forecasts.get(state.targets[0])
        expected = None if forecast is None else forecast.per_check(state.claim.id)
        return Progress(name, done, expected)

    def _say_how_long(self, item: pytest.Item) -> None:
        """Say after enough is measured about how long a target's other checks will take.

        Say it again where the whole turns out to take much longer or shorter.
        """
        targets = state_of(item).targets
        forecast = self._session.forecasts.get(targets[0]) if targets else None
        if forecast is None or not forecast.is_measured:
            return
        target = targets[0]
        checks = self._seconds_to_go(item.session, target)
        seconds = sum(checks)
        whole, said = forecast.spent + seconds, self._said.get(target, 0.0)
        rest = math.inf if self._session.budget is None else self._session.budget - forecast.spent
        if min(seconds, rest) < WORTH_SAYING or said / WRONG < whole < said * WRONG:
            return
        if said and rest < seconds:  # the budget is said to end the run
            return
        self._said[target] = whole
        source = "this run and what they take on the embedded model"
        if forecast.is_from_earlier_runs:
            source = "this run and the last ones on it"
        why = f"{format_count(len(checks), 'check')} on {target}, estimated from {source}"
        if rest < seconds:
            why = f"the budget is not enough for all checks on {target}"
        self._terminal.ensure_newline()
        # No line break: pytest begins what it writes next with one.
        about = f"{'now ' if said else ''}{format_about(min(seconds, rest))}"
        self._terminal.write(make_visible(f"{about} to go: {why}"))

    def _seconds_to_go(self, session: pytest.Session, target: str) -> list[float]:
        """Return what each check takes that is still to be made on a target, as far as is known."""
        ours, seconds = self._session, []
        for state in map(state_of, session.items):
            if state.claim is None or state.phases or state.targets[0] != target:
                continue
            key = target, state.needs
            if key not in self._missing:
                self._missing[key] = ours.missing(*key) is not None
            if not self._missing[key]:
                seconds.append(ours.forecasts[target].per_check(state.claim.id) or 0.0)
        return seconds


def pause(config: pytest.Config) -> AbstractContextManager[None]:
    """Leave the terminal to others for a while."""
    watch = config.pluginmanager.getplugin(Watch.NAME)
    return watch.slow_step.pause() if isinstance(watch, Watch) else nullcontext()
