"""The pytest plugin: hooks that delegate, and the fixtures of a claim's test.

Nothing here imports torch before a claim is about to run.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from probes.plugin import budget, collection, execution, options, startup, terminal
from probes.plugin.fixtures import evidence, model, rates, reference, seed

__all__ = ["evidence", "model", "rates", "reference", "seed"]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options; refuse whatever else defines one of them."""
    options.refuse_conflicts(parser, pluginmanager)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Refuse a target's configuration."""
    options.refuse_configuration_of_targets(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the targets, and register the controller."""
    startup.configure(config)


@pytest.hookimpl(wrapper=True)
def pytest_sessionstart(session: pytest.Session) -> Generator[None, object, object]:
    """Check the targets before workers start, as these cannot refuse one in one line."""
    startup.prepare_for_workers(session.config)
    return (yield)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the targets, and the memory that several workers take."""
    return terminal.header(config)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of a claim or of throughput once for each target."""
    collection.parametrize_model(metafunc)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, items: list[pytest.Item]
) -> Generator[None, object, object]:
    """Find each test's claim, keep those that `--claim` names, and sort them under a budget."""
    startup.refuse_or_run(session, collection.select_tests, session.config, items)
    result = yield
    budget.sort_by_urgency(items)
    return result


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember which checks of a claim are left out."""
    collection.count_deselected(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Refuse what cannot work before anything is loaded, then plan the checks."""
    return startup.plan_tests(session)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a claim that the target cannot decide, with the reason."""
    execution.skip_if_missing(item)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """Skip a claim whose fixture finds that the model cannot decide it, with the reason."""
    with execution.skip_undecidable():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Skip a claim that the model turns out to be unable to decide, with the reason."""
    with execution.skip_undecidable():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach to the reports of a test what it found out."""
    report = yield
    execution.attach_messages(item, call, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.TestReport | pytest.CollectReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Count an observation that the target does not show apart from what passes and fails."""
    return terminal.name_status(report)
