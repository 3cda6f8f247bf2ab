from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from probes.plugin.slow_step import Progress, SlowStep, format_progress


def plain(progress: Progress, elapsed: float, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(format_progress(progress, elapsed, width))
    return capture.get()


def test_progress_names_the_step_and_both_times() -> None:
    line = plain(Progress("top-k: edges", "1,200 forward passes", 40.0), 23.4)
    assert line.startswith("top-k: edges ━━━")
    assert line.rstrip().endswith("23 s of about 40 s · 1,200 forward passes")


def test_progress_admits_that_a_step_is_late() -> None:
    assert "61 s, expected about 40 s" in plain(Progress("top-k", expected=40.0), 61.0)


def test_progress_without_expectation_promises_none() -> None:
    assert plain(Progress("top-k"), 7.0).rstrip().endswith(" 7 s")


def test_progress_shortens_the_name_alone_where_space_is_short() -> None:
    line = plain(Progress("greedy-repeats: long_text_repeats[20]", "92 forward passes", 5), 6, 80)
    assert (
        line == "greedy-repeats: long_… ━━━━━━━━━━━━ 6 s, expected about 5 s · 92 forward passes\n"
    )


@pytest.mark.parametrize("width", [20, 40, 80])
def test_progress_is_one_line_on_any_terminal(width: int) -> None:
    assert plain(Progress("a" * 200, "b" * 200, 40.0), 3.0, width).count("\n") == 1


@pytest.fixture
def terminal() -> io.StringIO:
    return io.StringIO()


def make(terminal: io.StringIO, after: float, column: int = 7) -> SlowStep:
    console = Console(file=terminal, force_terminal=True, width=80, _environ={})
    return SlowStep(console, lambda: column, after)


def test_quick_step_writes_nothing(terminal: io.StringIO) -> None:
    with make(terminal, after=60.0).watch(lambda: Progress("quick")):
        pass
    assert terminal.getvalue() == ""


def test_slow_step_is_shown_and_the_cursor_returns(terminal: io.StringIO) -> None:
    with make(terminal, after=0.0).watch(lambda: Progress("slow")):
        wait_for("slow", terminal)
    assert terminal.getvalue().endswith("\x1b[1A\x1b[2K\x1b[8G\x1b[1A")


def test_pause_removes_the_line_and_shows_it_again(terminal: io.StringIO) -> None:
    step = make(terminal, after=0.0)
    with step.watch(lambda: Progress("slow")):
        wait_for("slow", terminal)
        with step.pause():
            before = terminal.getvalue()
            time.sleep(0.1)
            assert terminal.getvalue() == before
        terminal.truncate(0)
        wait_for("slow", terminal)


def test_step_that_fails_leaves_no_line(terminal: io.StringIO) -> None:
    def fail() -> None:
        with make(terminal, after=0.0).watch(lambda: Progress("slow")):
            wait_for("slow", terminal)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    before = terminal.getvalue()
    time.sleep(0.1)
    assert terminal.getvalue() == before


def wait_for(text: str, terminal: io.StringIO) -> None:
    end = time.monotonic() + 10
    while text not in terminal.getvalue():
        assert time.monotonic() < end, terminal.getvalue()
        time.sleep(0.01)
