"""Before the first test: targets are chosen and checked, and checks are planned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pytest

from probes._util import progress
from probes._util.files import check_output
from probes._util.garbage import skip_present_objects
from probes.errors import UserError
from probes.plugin import devices, markers, options, terminal, watch, workers
from probes.plugin.budget import parse_budget
from probes.plugin.collection import drop_left_out, name_of, state_of
from probes.plugin.controller import Controller
from probes.plugin.known_failures import read_known_failures
from probes.plugin.run import Expected
from probes.plugin.session import SESSION, choose_targets, session_of
from probes.results.costs import read_costs
from probes.results.journal import check_writable
from probes.schema.claim import KNOWLEDGE
from probes.schema.record import Cost
from probes.targets.preflight import refuse_missing_files
from probes.targets.target import Target


def configure(config: pytest.Config) -> None:
    """Register the markers, choose the targets, and register the controller."""
    for line in markers.HELP:
        config.addinivalue_line("markers", line)
    if (device := workers.assigned_device(config)) is not None:
        os.environ[devices.VISIBLE] = device
    config.add_cleanup(progress.watch(partial(terminal.show_step, config)))
    with options.usage_errors():
        _choose_targets(config)
        if not workers.is_worker(config):
            config.pluginmanager.register(Controller(config), Controller.NAME)


def _choose_targets(config: pytest.Config) -> None:
    option = config.option
    for claim_id in option.claim or []:
        if not claim_id.strip():
            raise UserError("--claim needs the id of a claim, not an empty text")
    session = choose_targets(
        option.target or [],
        gpu_too=options.selects_gpu(config),
        overrides=options.overrides(config),
        reference=option.reference,
        targets_file=option.targets_file,
        project=options.project_folder(config),
    )
    session.share_tokens(workers.running_workers(config))
    named = (target for name, target in session.targets.items() if name not in session.implied)
    for each in (*named, *session.references.values()):
        if isinstance(each, Target):  # before tests are collected, which takes longer
            refuse_missing_files(each)
    session.seed = option.seed
    session.copies = int(workers.is_worker(config))
    session.left_out.update(workers.left_out_targets(config))
    session.budget = parse_budget(option.claim_budget)
    if option.known_failures is not None:
        session.known_failures = read_known_failures(option.known_failures)
    config.stash[SESSION] = session
    if session.budget is not None:
        session.earlier_costs = _earlier_costs(config, session.targets)
    for name, target in session.targets.items():
        if KNOWLEDGE in target.provides and not workers.is_worker(config):
            _warn_of_knowledge(config, name)


def _earlier_costs(
    config: pytest.Config, targets: Iterable[str]
) -> Mapping[str, Mapping[str, Cost]]:
    """Return what claims took in earlier runs, by target; a worker is sent what was read."""
    if workers.is_worker(config):
        return workers.earlier_costs(config)
    folder = options.report_dir(config)
    return {} if folder is None else {name: read_costs(folder, name) for name in targets}


def _warn_of_knowledge(config: pytest.Config, name: str) -> None:
    warning = DeprecationWarning(
        f"target {name!r}: provides = [{KNOWLEDGE!r}] is deprecated: write expects = 'all', or the "
        "observations that must hold on it"
    )
    try:
        config.issue_config_time_warning(warning, stacklevel=2)
    except DeprecationWarning as error:  # by the user's filters
        raise UserError(str(error)) from None


def prepare_for_workers(config: pytest.Config) -> None:
    """Check the targets, where workers are about to start."""
    if workers.workers_to_start(config) and not config.option.collectonly:
        with options.usage_errors():
            _prepare(config, session_of(config).targets)


def plan_tests(session: pytest.Session) -> bool | None:
    """Plan the checks; return True to keep pytest from running tests, as a worker refuses.

    A worker begins its first test in spite of `shouldstop`.
    """
    if session.config.option.collectonly:
        return None
    if not session.shouldstop:
        refuse_or_run(session, _plan, session)
        skip_present_objects()
    return True if workers.refusal_of(session.config) is not None else None


def refuse_or_run(session: pytest.Session, function: Callable[..., None], *args: Any) -> None:
    """Call a function; a worker leaves a user's mistake for the controller to show, and stops."""
    if not workers.is_worker(session.config):
        with options.usage_errors():
            function(*args)
        return
    try:
        function(*args)
    except UserError as error:
        workers.send_refusal(session.config, str(error))
        session.shouldstop = "invalid command line"


def _prepare(config: pytest.Config, targets: Iterable[str]) -> None:
    session = session_of(config)
    shared = devices.copies(workers.workers_to_start(config), session.targets.values(), os.environ)
    session.prepare(targets, shared)
    folder = options.report_dir(config)
    if folder is not None:
        check_writable(folder)
    if (file := options.summary_file(config)) is not None:
        check_output(file, "summary", "--summary")


def _plan(session: pytest.Session) -> None:
    config, items = session.config, session.items
    if not workers.is_worker(config) and (targets := _targets_of(items)):
        _prepare(config, targets)
        drop_left_out(config, items)
    in_order = sorted(items, key=lambda item: state_of(item).place)  # a budget sorts otherwise
    states = {item.nodeid: state_of(item) for item in in_order}
    ours = session_of(config)
    ours.plan(
        [(target, state.claim) for state in states.values() for target in state.targets],
        workers=workers.running_workers(config),
    )
    is_watched = watch.is_watched(config)
    if is_watched and ours.budget is None:
        ours.earlier_costs = _earlier_costs(config, ours.targets)
    if is_watched or ours.budget is not None:
        firsts = [(state.targets[0], state.claim) for state in states.values() if state.targets]
        ours.begin_forecasts(firsts, workers.running_workers(config))
    if is_watched:
        config.pluginmanager.register(watch.Watch(config), watch.Watch.NAME)
    ours.expected = {
        item.nodeid: Expected(
            targets=state.targets, claim=state.claim.id, name=name_of(item), place=state.place
        )
        for item in items
        if (state := states[item.nodeid]).claim is not None
    }


def _targets_of(items: Iterable[pytest.Item]) -> list[str]:
    return list(dict.fromkeys(target for item in items for target in state_of(item).targets))
