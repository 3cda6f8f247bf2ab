"""Decides claims under faults in a process of its own: what a fault breaks stays there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.warm_process import CONTEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from probes import Model

Verdicts = dict[str, dict[str, list[str]]]
"""For each claim the reasons of its checks, by verdict."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-claims",
        action="store_true",
        help="decide all claims under each fault, a minute each [those that should see it]",
    )

    parser.addoption(
        "--all-faults",
        action="store_true",
        help="try every fault, not just one for each claim [one for each claim]",
    )


@pytest.fixture(scope="session")
def all_claims(request: pytest.FixtureRequest) -> bool:
    """Whether all claims are decided; the option is unknown where only other tests are run."""
    return bool(request.config.getoption("--all-claims", default=False))


@pytest.fixture(scope="session")
def decide_under() -> Iterator[Callable[[str, Sequence[str]], Verdicts]]:
    """Decide claims under a fault, or all if none is given, in one process for all faults."""
    from tests.faults.runner import answer

    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=answer, args=(theirs,))
    process.start()
    theirs.close()

    def decide(fault: str, claims: Sequence[str]) -> Verdicts:
        ours.send((fault, claims))
        try:
            verdicts: Verdicts = ours.recv()
        except EOFError:
            pytest.fail(f"the process that decides claims under faults died of {fault!r}")
        return verdicts

    yield decide
    with suppress(OSError):  # it may have died
        ours.send(("", ()))
    process.join()


@pytest.fixture(scope="session")
def intact() -> Model:
    """The embedded model, which no test breaks: what is measured of it is kept for other tests."""
    import probes
    from probes.targets.preflight import preflight
    from probes.targets.resolve import resolve

    return probes.Model(preflight(resolve("embedded")))


@pytest.fixture
def own_model(intact: Model) -> Model:
    """The embedded model, its network loaded for one test to break; its tokenizer is shared."""
    import probes
    from probes.targets.preflight import UsableTarget

    return probes.Model(UsableTarget(intact.target, intact.checkpoint), intact)
