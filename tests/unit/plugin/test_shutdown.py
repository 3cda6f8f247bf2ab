"""An interrupt is raised only where pytest can end the run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType

import pytest

from probes.plugin import shutdown
from probes.plugin.shutdown import Shutdown

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent")

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def stops() -> list[None]:
    """How often a run was asked to stop before its next test."""
    return []


@pytest.fixture
def run(stops: list[None]) -> Iterator[Shutdown]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    run = Shutdown(lambda: stops.append(None))
    run.watch()
    yield run
    run.restore()
    for number, handler in before.items():
        signal.signal(number, handler)


def interrupted(number: signal.Signals) -> str:
    """What a signal does to code that stays where it is: it returns, or tells of its interrupt."""
    signal.raise_signal(number)
    return "went on"


def lineless(code: CodeType) -> CodeType:
    """Code whose instructions belong to no line, as some of each loop do."""
    return code.replace(co_linetable=b"")


def inside(package: str, code: CodeType = interrupted.__code__) -> Callable[..., str]:
    return FunctionType(code, {"__name__": package, "signal": signal, "interrupted": interrupted})


def called(number: signal.Signals) -> str:
    return interrupted(number)


@pytest.mark.parametrize("number", SIGNALS)
def test_interrupt_in_a_test_is_immediate(run: Shutdown, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        inside("test_mine")(number)
    place = caught.getrepr().reprcrash
    assert place is not None
    assert place.path == __file__, "pytest shows the line that was interrupted"
    assert run.terminated == (number is signal.SIGTERM)
    assert not run.interrupted


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "place",
    [
        pytest.param(inside("pluggy._callers"), id="the plugin manager"),
        pytest.param(inside("_pytest.runner"), id="pytest"),
        pytest.param(inside("probes.plugin", called.__code__), id="what this plugin calls"),
        pytest.param(inside("test_mine", lineless(interrupted.__code__)), id="no line"),
    ],
)
def test_interrupt_waits_in_pytest_code(
    run: Shutdown, number: signal.Signals, place: Callable[..., str]
) -> None:
    assert place(number) == "went on"
    with pytest.raises(KeyboardInterrupt):
        time.sleep(60)  # one call that waits: the interrupt ends it


def test_interrupt_waits_no_longer_than_its_limit(
    run: Shutdown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "PATIENCE", 0.05)

    def stay() -> None:
        signal.raise_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            pass

    stuck = FunctionType(stay.__code__, {"__name__": "_pytest", "signal": signal, "time": time})
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stuck()
    assert 0.05 < time.monotonic() - begun < 30


def test_sigterm_stops_the_run_once(run: Shutdown, stops: list[None]) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(signal.SIGTERM)
    assert stops
    assert interrupted(signal.SIGTERM) == "went on", "one is enough: some send two"


def test_second_ctrl_c_is_immediate(run: Shutdown) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        inside("pluggy")(signal.SIGINT)


def test_signals_are_ignored_while_records_are_written(run: Shutdown) -> None:
    run.begin()
    assert interrupted(signal.SIGTERM) == "went on"
    assert interrupted(signal.SIGINT) == "went on"
    assert (run.terminated, run.interrupted) == (True, True)
    with pytest.raises(KeyboardInterrupt):
        interrupted(signal.SIGINT)


def test_waiting_interrupt_is_dropped_at_the_end(run: Shutdown) -> None:
    assert inside("pluggy")(signal.SIGTERM) == "went on"
    run.begin()
    run.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    time.sleep(0.05)  # were it sent now, it would end this process


def test_other_signal_handler_stays(run: Shutdown) -> None:
    run.restore()

    def mine(*_: object) -> None: ...

    for number in SIGNALS:
        signal.signal(number, mine)
    run.watch()
    run.begin()
    run.restore()
    assert [signal.getsignal(number) for number in SIGNALS] == [mine, mine]
