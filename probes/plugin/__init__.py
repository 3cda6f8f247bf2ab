"""The pytest plugin: options, the `model` and `evidence` fixtures, and hooks that delegate.

The only module that imports pytest. Nothing here imports torch before a claim is about to run.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probes._util import progress
from probes._util.files import check_can_write, write_atomically
from probes._util.text import shorten
from probes._util.version import __version__
from probes.errors import UndecidableError, UnusableTargetError, UserError, did_you_mean
from probes.plugin import devices, markers, verdicts
from probes.plugin.ending import TERMINATED, Ending
from probes.plugin.evidence import as_json, find_problems
from probes.plugin.run import Expected, Message, Run
from probes.plugin.session import DEFAULT_TARGET, Session, asks_for_cuda, choose
from probes.plugin.summary import decided, summary
from probes.report.locale import phrase
from probes.report.text.console import format_comparison
from probes.report.text.markdown import summarize_comparison, summarize_run
from probes.results.journal import check_writable
from probes.results.reading import REPORT_FILE, read
from probes.schema.claim import Claim, catalogue
from probes.schema.comparison import Outcome, parse_outcomes
from probes.schema.record import Check, Cost, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from _pytest.terminal import TerminalReporter

    from probes.engines.transformers.engine import TransformersEngine as Model
    from probes.schema.record import Record

REPORT_DIR = "reports"
DEFAULT_SEED = 20231010

JOB_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment variable in which a job of GitHub's names the file of its summary."""

# Help texts: what it takes, what it does, then the default in brackets. Loading options apply to
# every target of the run.
_LOADING_OPTIONS = {
    "quantization": "none or nf4: how the linear layers' weights are stored [the target's own]",
    "dtype": "auto, float32, float16 or bfloat16; under nf4 the one computed in [the target's own]",
    "device": "auto, cpu, cuda, cuda:N or mps: where the model runs [the target's own]",
    "revision": "commit, branch or tag of a hub model [the target's own, else the main branch]",
    "attention": "auto, eager, sdpa or another of transformers' names [the target's own]",
}

_FILES = ("words", "questions")
"""Options that name a file of what claims are decided on, for every target of the run."""


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
        "--words",
        metavar="FILE",
        help="TOML file with lists of words in groups, for the claims about meaning "
        "[the target's own, else English and Japanese ones]",
    )
    group.addoption(
        "--questions",
        metavar="FILE",
        help="TOML file with questions and answers, for the claims about knowledge "
        "[the target's own, else 66 in English]",
    )
    group.addoption(
        "--claim",
        action="append",
        metavar="ID",
        help="decide this claim alone; repeatable [all]",
    )
    group.addoption(
        "--seed",
        type=int,
        default=DEFAULT_SEED,
        metavar="N",
        help=f"seed of everything that is drawn; claims must hold under any [{DEFAULT_SEED}]",
    )
    group.addoption(
        "--report-dir",
        type=Path,
        metavar="FOLDER",
        help=f"where records and reports are written [{REPORT_DIR}, in the project's folder]",
    )
    group.addoption("--no-report", action="store_true", help="write no record and no report")
    group.addoption(
        "--summary",
        type=Path,
        metavar="FILE",
        help=f"write a summary in Markdown there [none; a job's own, if {JOB_SUMMARY} names it]",
    )

    group.addoption(
        "--baseline",
        action="append",
        type=Path,
        metavar="RECORD",
        help="compare the run with this one on the same target: a record.json or a folder of runs, "
        "whose latest is taken; repeatable, one a target [none]",
    )
    group.addoption(
        "--fail-on",
        metavar="OUTCOMES",
        help="what counts as a change from the baseline and ends with exit 1, with commas: "
        "newly-failing, changed, drifted, fixed, added, removed, not-comparable; or any, none "
        "[any]",
    )


_SESSION = pytest.StashKey[Session]()
_CLAIM = pytest.StashKey[Claim]()
_NEEDS = pytest.StashKey[tuple[str, ...]]()
_PLACE = pytest.StashKey[int]()
_EVIDENCE = pytest.StashKey[dict[str, Any]]()
_RATES = pytest.StashKey[list[Rate]]()
_COST_BEFORE = pytest.StashKey[Cost]()
_PHASES = pytest.StashKey[list[verdicts.Phase]]()
_EXPECTED = pytest.StashKey[dict[str, Expected]]()

# Keys of what controller and workers hand each other at a worker's start and end.
_LEFT_OUT = "probes_left_out"
_REFUSAL = "probes_refusal"
_DEVICE = "probes_device"


# --- before collection ---------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and find out which targets are meant."""
    for line in (
        "claim(id, title=..., needs=..., section=...): this test decides the claim; "
        "all but the id only for a claim of your own",
        "needs(name, ...): what the target must have for this test, beyond the claim's needs",
        "gpu: the claim is decided on a target that needs a CUDA device",
        "throughput: this test measures how fast the target is, once a target",
    ):
        config.addinivalue_line("markers", line)
    device = getattr(config, "workerinput", {}).get(_DEVICE)
    if device is not None:
        os.environ[devices.VISIBLE] = device
    config.add_cleanup(progress.watch(partial(_shown_step, config)))
    config.stash[_SESSION] = _or_usage_error(_chosen, config)
    if not _is_worker(config):
        controller = _or_usage_error(_Controller, config)
        config.pluginmanager.register(controller, "probes-controller")


@pytest.hookimpl(wrapper=True)
def pytest_sessionstart(session: pytest.Session) -> Generator[None, object, object]:
    """Look at the targets before workers are started, which cannot refuse them in one line."""
    config = session.config
    if _workers(config) and not config.option.collectonly:
        _or_usage_error(_prepare, config, config.stash[_SESSION].targets)
    return (yield)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the targets, and the memory that several workers take."""
    session = config.stash[_SESSION]
    lines = [f"probes {__version__}: target {', '.join(session.targets)}"]
    workers = _workers(config)
    if workers:
        sizes = [
            f"{workers} × {size / 1e6:,.0f} MB of {name}"
            for name, size in session.weight_bytes.items()
        ]
        lines.append(f"every worker loads the weights it needs: up to {', '.join(sizes)}")
    return lines


@contextmanager
def _shown_step(config: pytest.Config, what: str) -> Iterator[None]:
    """Show a step that takes long, and the libraries' own bars, on the terminal if there is one."""
    terminal = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    if terminal is None:  # in a worker
        yield
        return
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        terminal.write_line(f"\n{what} ...")
        start = time.perf_counter()
        yield
        terminal.write_line(f"{what}: done in {time.perf_counter() - start:.0f} s")


def _chosen(config: pytest.Config) -> Session:
    option = config.option
    for claim_id in option.claim or []:
        if not claim_id.strip():
            raise UserError("--claim needs the id of a claim, not an empty text")
    session = choose(
        option.target or [],
        gpu_too=re.search(r"\bgpu\b", option.markexpr or "") is not None,
        overrides={name: getattr(option, name) for name in [*_LOADING_OPTIONS, *_FILES]},
        targets_file=option.targets_file,
        project=_project(config),
    )
    session.copies = int(_is_worker(config))
    session.left_out.update(getattr(config, "workerinput", {}).get(_LEFT_OUT, {}))
    return session


def _prepare(config: pytest.Config, targets: Sequence[str]) -> None:
    session = config.stash[_SESSION]
    session.prepare(targets, devices.copies(_workers(config), session.targets.values(), os.environ))
    folder = _report_dir(config)
    if folder is not None:
        check_writable(folder)
    summary_file = _summary_file(config)
    if summary_file is not None:
        with _writing_summary(summary_file):
            check_can_write(summary_file)


def _report_dir(config: pytest.Config) -> Path | None:
    """Where reports go: what the command line names is seen from where the user stands."""
    if config.option.no_report:
        return None
    named: Path | None = config.option.report_dir
    return _project(config) / REPORT_DIR if named is None else config.invocation_params.dir / named


def _baselines(config: pytest.Config) -> dict[str, Record]:
    """The records to compare with, by target; read before this run's own are written."""
    baselines: dict[str, Record] = {}
    here = config.invocation_params.dir
    for path in config.option.baseline or []:
        record = read(here / path)
        name = record.target.name
        targets = config.stash[_SESSION].targets
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


def _summary_file(config: pytest.Config) -> Path | None:
    """The file that the command line names for a summary, seen from where the user stands."""
    named: Path | None = config.option.summary
    return None if named is None else config.invocation_params.dir / named


@contextmanager
def _writing_summary(path: Path) -> Iterator[None]:
    """Turn what the system refuses into a line that says what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the summary cannot be written to '{path}': {error.strerror or error}; "
            "name another file with --summary"
        ) from error


def _project(config: pytest.Config) -> Path:
    """The user's project: not the root folder, as pytest takes a target's folder for a test's."""
    here, ini = config.invocation_params.dir, config.inipath
    return ini.parent if ini is not None and here.is_relative_to(ini.parent) else here


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _workers(config: pytest.Config) -> int:
    """How many worker processes this one is to start; 0 where it runs the tests itself."""
    return 0 if _is_worker(config) else getattr(config.option, "numprocesses", None) or 0


def _or_usage_error(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function; a user's mistake becomes pytest's usage error, one line and exit 4."""
    try:
        return function(*args)
    except UserError as error:
        raise pytest.UsageError(*error.lines) from error


# --- collection ----------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make every test of a claim or of throughput once a target."""
    marked = any(map(metafunc.definition.get_closest_marker, ("claim", "throughput")))
    if marked and "model" in metafunc.fixturenames:
        targets = [
            pytest.param(name, marks=[pytest.mark.gpu] if asks_for_cuda(target) else [])
            for name, target in metafunc.config.stash[_SESSION].targets.items()
        ]
        metafunc.parametrize("model", targets, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Find each test's claim; keep those asked for."""
    _or_refused(session, _find_claims, config, items)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember which checks of a claim were left out."""
    for item in _deciding(items):
        item.config.stash[_SESSION].deselected[_target_of(item), item.stash[_CLAIM].id] += 1


def _find_claims(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        _read_markers(item)
    markers.refuse_two_meanings([item.stash[_CLAIM] for item in _deciding(items)])
    if config.option.claim:
        _keep_asked_for(config, items, config.option.claim)
    _leave_out(config, items)
    for place, item in enumerate(_deciding(items)):
        item.stash[_PLACE] = place


def _read_markers(item: pytest.Item) -> None:
    marker = item.get_closest_marker("claim")
    if marker is None:
        return
    try:
        item.stash[_CLAIM] = markers.stated_claim(marker.args, marker.kwargs)
        more = [markers.stated_needs(m.args, m.kwargs) for m in item.iter_markers("needs")]
        item.stash[_NEEDS] = sum(more, item.stash[_CLAIM].needs)
        _target_of(item)
    except UserError as error:
        raise UserError(f"{item.nodeid.partition('[')[0]}: {error}") from None


def _target_of(item: pytest.Item) -> str:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if "model" not in parameters:
        raise UserError(
            "it decides a claim but does not take the fixture 'model': add it to the arguments, "
            "so that the claim is decided on each target"
        )
    return str(parameters["model"])


def _deciding(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The tests that decide a claim."""
    return [item for item in items if _CLAIM in item.stash]


def _on_targets(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The tests that decide a claim or measure throughput."""
    return [i for i in items if _CLAIM in i.stash or _measures(i)]


def _measures(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return item.get_closest_marker("throughput") is not None and "model" in parameters


def _keep_asked_for(config: pytest.Config, items: list[pytest.Item], wanted: Sequence[str]) -> None:
    known = {item.stash[_CLAIM].id: None for item in _deciding(items)}
    for claim_id in wanted:
        if claim_id not in known:
            raise UserError(
                f"no claim {claim_id!r} among the collected tests{did_you_mean(claim_id, known)}"
            )
    _keep(config, items, lambda item: _CLAIM in item.stash and item.stash[_CLAIM].id in wanted)


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop the tests of targets that are left out."""
    left_out = config.stash[_SESSION].left_out
    _keep(config, items, lambda i: not _on_targets([i]) or _target_of(i) not in left_out)


def _keep(
    config: pytest.Config, items: list[pytest.Item], wanted: Callable[[pytest.Item], bool]
) -> None:
    dropped = [item for item in items if not wanted(item)]
    if dropped:
        items[:] = [item for item in items if wanted(item)]
        config.hook.pytest_deselected(items=dropped)


def _or_refused(session: pytest.Session, function: Callable[..., None], *args: Any) -> None:
    """Call a function; a worker leaves a user's mistake for the controller to show, and stops."""
    if not _is_worker(session.config):
        _or_usage_error(function, *args)
        return
    try:
        function(*args)
    except UserError as error:
        session.config.workeroutput[_REFUSAL] = str(error)  # type: ignore[attr-defined]
        session.shouldstop = "the command line cannot be followed"


# --- before the first test -----------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Refuse what cannot work before anything is loaded, then plan what is to be decided."""
    if session.config.option.collectonly:
        return None
    if not session.shouldstop:
        _or_refused(session, _set_out, session)
    # A worker would begin its first test whatever it is told: no other loop must run.
    return True if _REFUSAL in getattr(session.config, "workeroutput", {}) else None


def _set_out(session: pytest.Session) -> None:
    config = session.config
    if not _is_worker(config) and _on_targets(session.items):
        _prepare(config, list(dict.fromkeys(map(_target_of, _on_targets(session.items)))))
        _leave_out(config, session.items)
    config.stash[_SESSION].plan(
        [(_target_of(i), i.stash.get(_CLAIM, None)) for i in _on_targets(session.items)],
        workers=getattr(config, "workerinput", {}).get("workercount", 1),
    )
    config.stash[_EXPECTED] = {
        item.nodeid: Expected(
            target=_target_of(item),
            claim=item.stash[_CLAIM].id,
            name=_name_of(item),
            place=item.stash[_PLACE],
        )
        for item in _deciding(session.items)
    }


# --- fixtures ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    """The model under test: its tokenizer and weights are loaded when first used."""
    session = request.config.stash[_SESSION]
    loaded = session.model(getattr(request, "param", next(iter(session.targets))))
    yield loaded
    if len(session.targets) > 1:  # the next one needs the room
        loaded.unload()


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of what a claim draws, from the command line."""
    return int(request.config.option.seed)


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What the claim rests on: numbers and texts by name, shown in the report."""
    request.node.stash[_EVIDENCE] = values = dict[str, Any]()
    yield values
    claim = request.node.stash.get(_CLAIM, None)
    problems = find_problems(values, built_in=claim is not None and claim.id in catalogue())
    if problems:
        pytest.fail("; ".join(problems), pytrace=False)


@pytest.fixture
def rates(request: pytest.FixtureRequest) -> list[Rate]:
    """What a test of throughput measured: in the record, the report and comparisons."""
    request.node.stash[_RATES] = measured = list[Rate]()
    return measured


# --- each test -----------------------------------------------------------------------------------


@contextmanager
def _undecidable_is_left_out() -> Iterator[None]:
    """Skip where the model turns out not to be able to decide a claim, with the reason."""
    try:
        yield
    except UndecidableError as error:
        raise pytest.skip.Exception(str(error), _use_item_location=True) from error


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out a claim that the target cannot decide, with the reason."""
    if _CLAIM not in item.stash:
        return
    session, target = item.config.stash[_SESSION], _target_of(item)
    item.stash[_COST_BEFORE] = session.cost(target)
    needs: tuple[str, ...] = item.stash[_NEEDS]
    lacking = session.lacking(target, needs)
    if lacking is not None:
        raise pytest.skip.Exception(lacking, _use_item_location=True)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """Leave out a claim whose fixture finds that the model cannot decide it, with the reason."""
    with _undecidable_is_left_out():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Leave out a claim that the model turns out not to be able to decide, with the reason."""
    with _undecidable_is_left_out():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a test of a claim or of throughput into a message once its teardown is over."""
    report = yield
    if not _on_targets([item]):
        return report
    if _unusable(call.excinfo):
        report.longrepr = "the target cannot be loaded"
    elif crash := getattr(report.longrepr, "reprcrash", None):
        # In a job pytest shows all of it in a line, and a model may have written megabytes.
        crash.message = shorten(crash.message, verdicts.LONGEST_REASON)
    item.stash.setdefault(_PHASES, []).append(_phase(report, call))
    message = _message(item) if report.when == "teardown" else _announcement(item)
    if message is not None:
        report.probes_message = message.model_dump_json()  # type: ignore[attr-defined]
    return report


def _announcement(item: pytest.Item) -> Message | None:
    """What is about to be decided, once, before the first test runs: it may be this process' last.

    A run that is killed in its first test is known by it, and so is a check that a worker dies of.
    """
    expected = item.config.stash[_EXPECTED]
    item.config.stash[_EXPECTED] = {}
    if not expected:
        return None
    return item.config.stash[_SESSION].message(_target_of(item), expected=expected)


def _message(item: pytest.Item) -> Message | None:
    """What a test found out; None if it decides no claim and measured nothing."""
    failures = (str(phase.error) for phase in item.stash[_PHASES] if _is_unusable(phase.error))
    found: dict[str, Any] = {"unusable": next(failures, None)}
    if rates := item.stash.get(_RATES, []):
        found["rates"] = tuple(rates)
    if _CLAIM in item.stash:
        claim = item.stash[_CLAIM].id
        found |= {"claim": claim, "check": _check(item), "place": item.stash[_PLACE]}
    elif not any(found.values()):
        return None
    return item.config.stash[_SESSION].message(_target_of(item), **found)


def _check(item: pytest.Item) -> Check:
    session, target = item.config.stash[_SESSION], _target_of(item)
    phases = item.stash[_PHASES]
    verdict, reason = verdicts.verdict(phases)
    evidence: dict[str, Any] = item.stash.get(_EVIDENCE, {})
    cost = session.cost(target) - item.stash.get(_COST_BEFORE, session.cost(target))
    return Check(
        name=_name_of(item),
        verdict=verdict,
        reason=reason,
        values=as_json(evidence)[0],
        cost=cost.model_copy(update={"seconds": verdicts.seconds(phases)}),
    )


def _phase(report: pytest.TestReport, call: pytest.CallInfo[Any]) -> verdicts.Phase:
    error = None if call.excinfo is None else call.excinfo.value
    # A skip is kept as file, line and reason.
    skip = report.longrepr if isinstance(report.longrepr, tuple) else None
    reason = str(skip[2]) if skip else report.longreprtext
    kinds = (AssertionError, pytest.fail.Exception)
    return verdicts.Phase(
        when=report.when,
        outcome=report.outcome,
        seconds=report.duration,
        reason=reason.removeprefix("Skipped: "),
        error=error,
        stated=error is not None and all(isinstance(e, kinds) for e in verdicts.leaves(error)),
        expected=getattr(report, "wasxfail", None),
    )


def _unusable(excinfo: pytest.ExceptionInfo[BaseException] | None) -> bool:
    return excinfo is not None and _is_unusable(excinfo.value)


def _is_unusable(error: BaseException | None) -> bool:
    return isinstance(error, UnusableTargetError)


def _name_of(item: pytest.Item) -> str:
    """The test's name without the target's: runs on two targets can be laid side by side."""
    name, _, parameters = item.name.partition("[")
    target = _target_of(item)
    for spelled in (target, target.encode("unicode_escape").decode("ascii")):
        if parameters.startswith(spelled):
            rest = parameters.removeprefix(spelled).removesuffix("]").removeprefix("-")
            return f"{name}[{rest}]" if rest else name
    return item.name


# --- where records are written: the controller, or the one process there is ----------------------


class _Controller:
    """Writes each message down as it comes, and says at the end what came of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._session = config.stash[_SESSION]
        self._fail_on = parse_outcomes(config.option.fail_on)
        self._baselines = _baselines(config)
        self._run = Run(_report_dir(config), self._baselines)
        self._refusal: Sequence[str] = ()
        self._stoppable: list[Any] = []
        self._ending = Ending(lambda: self._stop("SIGTERM"))
        self._stopped_by = ""
        self._not_appended = ""

    @property
    def folders(self) -> dict[str, Path]:
        """The folders of the run's records, by target."""
        return self._run.folders

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Remember what to stop where going on is useless; be ready to be asked to end."""
        self._stoppable = [session, self._config.pluginmanager.getplugin("dsession")]
        self._ending.watch()

    def pytest_unconfigure(self) -> None:
        """Leave signals to whoever comes next."""
        self._ending.forget()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker which targets are left out, and which CUDA device is its own."""
        node.workerinput[_LEFT_OUT] = self._session.left_out
        shared = devices.shared_out(self._session.targets.values(), os.environ)
        node.workerinput[_DEVICE] = devices.device_of(node.gateway.id, shared)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take in what a worker refused to do; start none anew in a run that is asked to end."""
        refusal = getattr(node, "workeroutput", {}).get(_REFUSAL)
        if refusal is not None:
            self._refuse(refusal)
        self._ending.obey()

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str) -> None:
        """A worker died under a test: it ended in an error, which nobody else can tell.

        In a run that is asked to end it died of that: who asks, asks its workers as well.
        """
        self._ending.obey()
        self._refuse_if(self._run.lose, crashitem)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what a worker, or this process, found out."""
        text = getattr(report, "probes_message", None)
        if text is None or self._refusal:
            return
        message = Message.model_validate_json(text)
        self._refuse_if(self._run.take, message)
        if message.unusable is not None:
            self._refuse(message.unusable)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """The run was interrupted: it ends, and a second request must not break off its end."""
        self._ending.begin()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the records; a run that decided nothing is not a success.

        Before other plugins: to wait for workers takes time that one who sent SIGTERM may not give.
        The exit code after them, as they change it too, and before it is shown.
        """
        self._ending.begin()
        self._refuse_if(self._run.finish)
        self._refuse_if(self._sum_up)
        try:
            return (yield)
        except Warning:  # made an error by the user's filter
            interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
            if not (interrupted or self._ending.terminated or self._ending.interrupted):
                raise
            return None  # what another plugin misses after an interruption is no news
        finally:
            self._settle(session)

    def _settle(self, session: pytest.Session) -> None:
        """The exit code, after all that can change it."""
        if self._ending.terminated:
            self._stopped_by = "SIGTERM"
        elif session.exitstatus == pytest.ExitCode.INTERRUPTED:
            self._stopped_by = "an interruption"
        if not self._run.records and session.exitstatus != pytest.ExitCode.USAGE_ERROR:
            self._refuse_if(self._session.refuse_nothing)
        if self._refusal:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif self._ending.terminated:
            session.exitstatus = TERMINATED
        elif self._ending.interrupted:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        elif self._decided_nothing() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        elif self._changed() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: TerminalReporter
    ) -> Generator[None, object, object]:
        """Show the verdicts and where the report is, after all else there is to say."""
        result = yield
        self._show(terminalreporter)
        return result

    def _show(self, terminal: TerminalReporter) -> None:
        for record in self._run.records:
            terminal.write_line("")
            terminal.write(summary(record, terminal._tw.fullwidth, colour=terminal.hasmarkup))
            self._show_comparison(terminal, record.target.name)
            if report := self._report_of(record):
                terminal.write_line(f"report: {report}")
        for name in self._uncompared():
            line = f"not compared with its baseline: {name}, on which no claim was decided"
            terminal.write_line(line, red=True)
        if self._decided_nothing():
            terminal.write_line("no claim was decided", red=True)
        for line in self._refusal:
            terminal.write_line(f"ERROR: {line}", red=True)
        if self._refusal:
            return
        if self._stopped_by and not all(record.complete for record in self._run.records):
            line = f"stopped by {self._stopped_by}: what was decided before is kept; run it again"
            terminal.write_line(f"{line} for the rest", red=True)
        for line in self._session.left_out.values():
            terminal.write_line(f"left out: {line}", yellow=True)
        if self._not_appended:
            terminal.write_line(self._not_appended, yellow=True)

    def _show_comparison(self, terminal: TerminalReporter, target: str) -> None:
        if comparison := self._run.comparisons.get(target):
            width, colour = terminal._tw.fullwidth, terminal.hasmarkup
            terminal.write_line(phrase("compare.from_baseline"))
            terminal.write(format_comparison(comparison, width, colour=colour))

    def _changed(self) -> bool:
        """Whether a run differs from its baseline in what counts."""
        found = self._run.comparisons.values()
        missing = self._uncompared() and Outcome.NOT_COMPARABLE in self._fail_on
        return bool(missing) or any(each.outcomes & self._fail_on for each in found)

    def _uncompared(self) -> list[str]:
        """Targets that have a baseline, and no record in this run."""
        return [name for name in self._baselines if name not in self._run.comparisons]

    def _sum_up(self) -> None:
        """Write the summary where it was asked for, and where a job shows it."""
        text = "\n".join(
            summarize_run(record, self._report_of(record)) + self._compared(record)
            for record in self._run.records
        )
        file, job = _summary_file(self._config), os.environ.get(JOB_SUMMARY)
        if job and text:
            self._append(Path(job), text)
        if file is not None and text:
            with _writing_summary(file):
                write_atomically(file, text)

    def _compared(self, record: Record) -> str:
        comparison = self._run.comparisons.get(record.target.name)
        return "" if comparison is None else "\n" + summarize_comparison(comparison)

    def _append(self, file: Path, text: str) -> None:
        """Add to a job's summary. Nobody asked for it here: where it cannot be, a line says so."""
        try:
            with file.open("a", encoding="utf-8", newline="\n") as job:
                job.write(f"{text}\n")
        except OSError as error:
            self._not_appended = f"no summary in {JOB_SUMMARY}: {error.strerror or error}"

    def _report_of(self, record: Record) -> str:
        """Where a record's report lies, as the user sees it; empty where none is written."""
        folder = self._run.folders.get(record.target.name)
        return "" if folder is None else str(self._shown(folder / REPORT_FILE))

    def _shown(self, path: Path) -> Path:
        """A path as short as it can be written from where the user stands."""
        here = self._config.invocation_params.dir
        return path.relative_to(here) if path.is_relative_to(here) else path

    def _decided_nothing(self) -> bool:
        return bool(self._run.records) and not decided(self._run.records)

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
