"""The pytest plugin: options, the `model` and `evidence` fixtures, and hooks that delegate.

The only module that imports pytest. Nothing here imports torch before a claim is about to run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probes import __version__
from probes.claims import Claim, Need, catalogue
from probes.environment import describe
from probes.errors import UnusableTargetError, UserError
from probes.journal import check_writable
from probes.preflight import Usable, preflight
from probes.record import Check, ClaimRecord, Cost, Record, TargetFacts, Verdict, utc_now
from probes.run import Message, Plan, Run
from probes.summary import decided, summary
from probes.targets import Target, did_you_mean, known_targets, resolve

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from probes.model import Model

DEFAULT_TARGET = "embedded"

# Help texts: what it takes, what it does, then the default in brackets. Loading options apply to
# every target of the run.
_LOADING_OPTIONS = {
    "quantization": "none or nf4: how the linear layers' weights are stored [the target's own]",
    "dtype": "auto, float32, float16 or bfloat16; under nf4 the one computed in "
    "[the target's own]",
    "device": "auto, cpu, cuda, cuda:N or mps: where the model runs [the target's own]",
    "revision": "commit, branch or tag of a hub model [the target's own, else the main branch]",
    "attention": "auto, eager, sdpa or another of transformers' names [the target's own]",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("probes", "claims about language models")
    group.addoption(
        "--target",
        action="append",
        metavar="NAME|FOLDER|HUB-ID",
        help=f"what to decide claims on; repeatable [{DEFAULT_TARGET}]",
    )
    group.addoption(
        "--targets-file",
        type=Path,
        metavar="FILE",
        help="TOML file with [targets.NAME] tables of your own "
        "[the project's pyproject.toml, under tool.probes]",
    )
    for name, text in _LOADING_OPTIONS.items():
        group.addoption(f"--{name}", metavar=name.upper(), help=text)
    group.addoption(
        "--claim",
        action="append",
        metavar="ID",
        help="decide this claim alone; repeatable [all]",
    )
    group.addoption(
        "--report-dir",
        type=Path,
        default=Path("reports"),
        metavar="FOLDER",
        help="where records and reports are written [reports]",
    )
    group.addoption("--no-report", action="store_true", help="write no record and no report")


@dataclass
class _State:
    """What the plugin remembers of one run."""

    targets: dict[str, Target]
    implied: frozenset[str]
    run: Run
    usable: dict[str, Usable] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    deselected: Counter[tuple[str, str]] = field(default_factory=Counter)
    plans: tuple[Plan, ...] = ()
    sent_facts: dict[str, TargetFacts] = field(default_factory=dict)


_Phase = tuple[pytest.TestReport, pytest.CallInfo[Any]]

_STATE = pytest.StashKey[_State]()
_CLAIM = pytest.StashKey[Claim]()
_EVIDENCE = pytest.StashKey[dict[str, Any]]()
_COST_BEFORE = pytest.StashKey[Cost]()
_PHASES = pytest.StashKey[list[_Phase]]()


# --- before collection ---------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and find out which targets are meant."""
    for line in (
        "claim(id, title=..., needs=..., section=...): this test decides the claim; "
        "all but the id only for a claim of your own",
        "needs(name, ...): what the target must have for this test, beyond the claim's needs",
        "gpu: the claim is decided on a target that needs a CUDA device",
    ):
        config.addinivalue_line("markers", line)
    state = config.stash[_STATE] = _usage_error_if_refused(_state, config)
    if not _is_worker(config):
        config.pluginmanager.register(_Writer(state), "probes-writer")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the targets, and what several workers take."""
    targets = config.stash[_STATE].targets
    lines = [f"probes {__version__}: target {', '.join(targets)}"]
    workers = getattr(config.option, "numprocesses", None)
    if workers:
        lines.append(f"{workers} workers, each with a model of its own")
    return lines


def _state(config: pytest.Config) -> _State:
    option = config.option
    overrides = {name: getattr(option, name) for name in _LOADING_OPTIONS}
    names = option.target or [DEFAULT_TARGET]
    project = {"targets_file": option.targets_file, "project": config.rootpath}
    implied = []
    if option.markexpr and not option.target:
        implied = [n for n, t in known_targets(**project).items() if _needs_cuda(t)]
    targets = [resolve(name, **project, overrides=overrides) for name in [*names, *implied]]
    _refuse_same_name(targets)
    for claim_id in option.claim or []:
        if not claim_id.strip():
            raise UserError("--claim needs a claim's id, not an empty text")
    return _State(
        targets={target.name: target for target in targets},
        implied=frozenset(implied),
        run=Run(None if option.no_report else config.rootpath / option.report_dir),
    )


def _needs_cuda(target: Target) -> bool:
    return target.device.startswith("cuda")


def _refuse_same_name(targets: Sequence[Target]) -> None:
    for name, count in Counter(target.name for target in targets).items():
        if count > 1:
            raise UserError(
                f"{count} targets are called {name!r}: name each once, or give them names of "
                "their own in a targets file"
            )


def _usage_error_if_refused(function: Any, *args: Any) -> Any:
    """Call a function; a user's mistake becomes pytest's usage error, one line and exit 4."""
    try:
        return function(*args)
    except UserError as error:
        raise pytest.UsageError(str(error)) from error


# --- collection ----------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make every claim's test once a target."""
    if metafunc.definition.get_closest_marker("claim") is None:
        return
    if "model" not in metafunc.fixturenames:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid} decides a claim but does not take the fixture "
            "'model': add it to the arguments, so that the claim is decided on each target"
        )
    parameters = [
        pytest.param(name, marks=[pytest.mark.gpu] if _needs_cuda(target) else [])
        for name, target in metafunc.config.stash[_STATE].targets.items()
    ]
    metafunc.parametrize("model", parameters, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Find each test's claim; keep those asked for."""
    for item in items:
        marker = item.get_closest_marker("claim")
        if marker is not None:
            item.stash[_CLAIM] = _usage_error_if_refused(_claim, item, marker)
    wanted = config.option.claim
    if wanted:
        _usage_error_if_refused(_refuse_unknown_claims, wanted, items)
        _keep(config, items, lambda item: _CLAIM in item.stash and item.stash[_CLAIM].id in wanted)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember which checks of a claim were left out."""
    for item in items:
        if _CLAIM in item.stash:
            item.config.stash[_STATE].deselected[_target_of(item), item.stash[_CLAIM].id] += 1


def _claim(item: pytest.Item, marker: pytest.Mark) -> Claim:
    if len(marker.args) != 1 or not isinstance(marker.args[0], str):
        raise UserError(f"{item.nodeid}: the marker claim takes one id, as in claim('my-claim')")
    claim_id = marker.args[0]
    if not marker.kwargs:
        if claim_id not in catalogue():
            raise UserError(
                f"{item.nodeid}: no claim {claim_id!r} in the catalogue"
                f"{did_you_mean(claim_id, catalogue())}; a claim of your own needs a title: "
                f"claim({claim_id!r}, title='...')"
            )
        return catalogue()[claim_id]
    try:
        return Claim(id=claim_id, **marker.kwargs)
    except ValueError as error:
        raise UserError(f"{item.nodeid}: claim {claim_id!r} is misstated: {error}") from error


def _refuse_unknown_claims(wanted: Sequence[str], items: Sequence[pytest.Item]) -> None:
    known = {item.stash[_CLAIM].id for item in items if _CLAIM in item.stash}
    for claim_id in wanted:
        if claim_id not in known:
            raise UserError(
                f"no claim {claim_id!r} among the collected tests"
                f"{did_you_mean(claim_id, known)}"
            )


def _keep(config: pytest.Config, items: list[pytest.Item], wanted: Any) -> None:
    dropped = [item for item in items if not wanted(item)]
    if dropped:
        items[:] = [item for item in items if wanted(item)]
        config.hook.pytest_deselected(items=dropped)


def _target_of(item: pytest.Item) -> str:
    return str(item.callspec.params["model"])  # type: ignore[attr-defined]


def _name_of(item: pytest.Item) -> str:
    """The test's name without the target's, so that runs on two targets can be laid side by side."""
    name, _, parameters = item.name.partition("[")
    rest = parameters.removesuffix("]").removeprefix(_target_of(item)).removeprefix("-")
    return f"{name}[{rest}]" if rest else name


# --- before the first test -----------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Refuse what cannot work before anything is loaded, then plan what is to be decided."""
    config = session.config
    if config.option.collectonly:
        return
    if not _is_worker(config):
        _usage_error_if_refused(_prepare, config, session)
    state = config.stash[_STATE]
    state.plans = tuple(
        _plan(config, target, [i for i in session.items if _CLAIM in i.stash])
        for target in _planned_targets(session.items)
    )


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _planned_targets(items: Sequence[pytest.Item]) -> list[str]:
    return list(dict.fromkeys(_target_of(item) for item in items if _CLAIM in item.stash))


def _prepare(config: pytest.Config, session: pytest.Session) -> None:
    """Check every target that is about to be tested, and the report folder."""
    state = config.stash[_STATE]
    distributed = config.pluginmanager.hasplugin("dsession")
    names = list(state.targets) if distributed else _planned_targets(session.items)
    if not names:
        return
    refusals = []
    for name in names:
        try:
            state.usable[name] = preflight(state.targets[name])
        except UserError as error:
            if name not in state.implied:
                raise
            refusals.append(str(error))
    if refusals and not state.usable:
        raise UserError("nothing can run here: " + " | ".join(refusals))
    state.left_out = refusals
    _keep(
        config,
        session.items,
        lambda item: _CLAIM not in item.stash or _target_of(item) in state.usable,
    )
    if not config.option.no_report:
        check_writable(config.rootpath / config.option.report_dir)


def _plan(config: pytest.Config, target: str, items: Sequence[pytest.Item]) -> Plan:
    from probes.model import load

    state = config.stash[_STATE]
    model = load(state.targets[target])
    claims: dict[str, ClaimRecord] = {}
    for item in items:
        if _target_of(item) != target:
            continue
        claim = item.stash[_CLAIM]
        planned = claims[claim.id].planned + 1 if claim.id in claims else 1
        claims[claim.id] = ClaimRecord(
            **claim.model_dump(),
            planned=planned,
            deselected=state.deselected[target, claim.id],
        )
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    header = Record(
        suite=__version__,
        started=utc_now(),
        target=model.facts(),
        environment=describe(workers=workers),
        claims=_in_reading_order(claims),
    )
    return Plan(header=header, folder=model.checkpoint.folder)


def _in_reading_order(claims: dict[str, ClaimRecord]) -> tuple[ClaimRecord, ...]:
    """Built-in claims as the catalogue has them, then an author's own as they were collected."""
    own = [claim_id for claim_id in claims if claim_id not in catalogue()]
    return tuple(claims[i] for i in [*catalogue(), *own] if i in claims)


# --- fixtures ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest) -> Model:
    """The model under test: its tokenizer and weights are loaded when first used."""
    from probes.model import load

    targets = request.config.stash[_STATE].targets
    return load(targets[getattr(request, "param", next(iter(targets)))])


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What the claim rests on: numbers and texts by name, shown in the report."""
    request.node.stash[_EVIDENCE] = values = dict[str, Any]()
    yield values


# --- each test -----------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out a claim that the target cannot decide, with the reason."""
    if _CLAIM not in item.stash:
        return
    from probes.model import load

    model = load(item.config.stash[_STATE].targets[_target_of(item)])
    item.stash[_COST_BEFORE] = model.cost
    more = [Need(name) for mark in item.iter_markers("needs") for name in mark.args]
    for need in (*item.stash[_CLAIM].needs, *more):
        lacking = model.lacks(need)
        if lacking is not None:
            raise pytest.skip.Exception(lacking, _use_item_location=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a claim's test into a message once its teardown is over."""
    report = yield
    if _CLAIM in item.stash:
        item.stash.setdefault(_PHASES, []).append((report, call))
        if report.when == "teardown":
            report.probes_message = _message(item).model_dump_json()  # type: ignore[attr-defined]
    return report


def _message(item: pytest.Item) -> Message:
    from probes.model import load

    state = item.config.stash[_STATE]
    model = load(state.targets[_target_of(item)])
    phases = item.stash[_PHASES]
    verdict, reason = _verdict(phases)
    seconds = sum(report.duration for report, _ in phases if report.when == "call")
    cost = model.cost - item.stash.get(_COST_BEFORE, model.cost)
    facts = model.facts()
    news = facts if state.sent_facts.get(facts.name) != facts else None
    state.sent_facts[facts.name] = facts
    plans, state.plans = state.plans, ()
    return Message(
        target=facts.name,
        claim=item.stash[_CLAIM].id,
        check=Check(
            name=_name_of(item),
            verdict=verdict,
            reason=reason,
            values=item.stash.get(_EVIDENCE, {}),
            cost=cost.model_copy(update={"seconds": seconds}),
        ),
        facts=None if news is None else (news, describe(news.device)),
        plans=plans,
        unusable=_unusable(phases),
    )


def _verdict(phases: Sequence[_Phase]) -> tuple[Verdict, str]:
    """What a test's setup, call and teardown amount to: the first that did not pass decides."""
    for report, call in phases:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            return Verdict.NOT_APPLICABLE, str(reason).removeprefix("Skipped: ")
        if report.skipped:
            return Verdict.FAILS, f"expected to fail: {report.wasxfail}"
        if report.failed and call.excinfo is None:
            return Verdict.FAILS, report.longreprtext
        if report.failed and call.excinfo is not None:
            stated = call.excinfo.errisinstance((AssertionError, pytest.fail.Exception))
            failed = stated and report.when == "call"
            reason = call.excinfo.exconly().removeprefix("AssertionError: ")
            return (Verdict.FAILS if failed else Verdict.ERROR), reason
    return Verdict.HOLDS, ""


def _unusable(phases: Sequence[_Phase]) -> str | None:
    for _, call in phases:
        if call.excinfo is not None and call.excinfo.errisinstance(UnusableTargetError):
            return str(call.excinfo.value)
    return None


# --- where records are written: the controller, or the one process there is ----------------------


class _Writer:
    """Writes each message down as it comes, and says at the end what came of the run."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._records: list[Record] = []
        self._refusal: str | None = None
        self._session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Remember the session, to stop it where going on is useless."""
        self._session = session

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what a worker, or this process, found out."""
        text = getattr(report, "probes_message", None)
        if text is None or self._refusal is not None:
            return
        message = Message.model_validate_json(text)
        self._refuse_if(self._state.run.take, message)
        if message.unusable is not None:
            self._refuse(message.unusable)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the records; a run that decided nothing is not a success."""
        self._refuse_if(self._finish)
        if self._refusal is not None:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif self._records and not decided(self._records) and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Show the verdicts, then where the report is."""
        for record in self._records:
            terminalreporter.ensure_newline()
            terminalreporter.write_line("")
            text = summary(
                record,
                width=terminalreporter._tw.fullwidth,
                colour=terminalreporter.hasmarkup,
            )
            terminalreporter.write(text)
            folder = self._state.run.folders.get(record.target.name)
            if folder is not None:
                terminalreporter.write_line(f"report: {_shown(folder / 'report.html')}")
        if self._records and not decided(self._records):
            terminalreporter.write_line("no claim was decided", red=True)
        for line in (*self._state.left_out, self._refusal):
            if line is not None:
                terminalreporter.write_line(f"ERROR: {line}", red=True)

    def _finish(self) -> None:
        self._records = self._state.run.finish()

    def _refuse_if(self, function: Any, *args: Any) -> None:
        try:
            function(*args)
        except UserError as error:
            self._refuse(str(error))

    def _refuse(self, reason: str) -> None:
        """Stop the run, as nothing more can be decided or written."""
        self._refusal = self._refusal or reason
        if self._session is not None:
            self._session.shouldstop = reason


def _shown(path: Path) -> Path:
    """A path as short as it can be written from here."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
