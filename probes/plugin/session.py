"""One process's knowledge of a run: its targets, the checks it expects, what it reported.

Under several workers each has a session of its own; what they find out travels as messages.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probes._util.version import __version__
from probes.errors import NothingCanRunError, UserError
from probes.plugin.forecast import ExpectedTimes, Forecast
from probes.plugin.run import Expected, Message, Plan
from probes.results.environment import describe_environment
from probes.results.reading import RECORD_FILE, read
from probes.schema.claim import REFERENCE, catalogue
from probes.schema.record import ClaimRecord, Cost, Record, TargetFacts, utc_now
from probes.targets.capabilities import NO_REFERENCE
from probes.targets.preflight import preflight
from probes.targets.resolve import list_targets, resolve
from probes.targets.target import Target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from probes.engines.endpoint.engine import EndpointEngine
    from probes.engines.recorded import RecordedReference
    from probes.engines.transformers.engine import TransformersEngine
    from probes.plugin.known_failures import KnownFailure
    from probes.schema.claim import Claim

DEFAULT_TARGET = "embedded"


@dataclass
class Session:
    """One process's part in a run.

    `references` are what engines are compared with, by target: a target or the file of a record.
    `seed` is that of everything that is drawn.
    A CUDA device must hold `copies` of each target: 1 in a worker, 0 in a process that is alone.
    The targets that `-m gpu` added are `implied`; `left_out` says why one of them cannot be used.
    `known_failures` are those of `--known-failures`. `weight_bytes` are the stored sizes of usable
    targets. `deselected` counts the checks that the command line left out, by target and claim. The
    checks planned and not yet announced are `expected`, by the test's id. `budget` is that of
    `--claim-budget` in seconds for each target; `over_budget` says by target and claim whether it
    leaves a claim out. `earlier_costs` are what claims took in earlier runs, by target, and
    `forecasts` what they will take; both are empty where nothing asks for them.
    """

    targets: Mapping[str, Target]
    references: Mapping[str, Target | Path] = field(default_factory=dict)
    seed: int | None = None
    copies: int = 0
    implied: frozenset[str] = frozenset()
    left_out: dict[str, str] = field(default_factory=dict)
    known_failures: tuple[KnownFailure, ...] = ()
    weight_bytes: dict[str, int] = field(default_factory=dict)
    deselected: Counter[tuple[str, str]] = field(default_factory=Counter)
    expected: dict[str, Expected] = field(default_factory=dict)
    budget: float | None = None
    over_budget: dict[tuple[str, str], bool] = field(default_factory=dict)
    earlier_costs: Mapping[str, Mapping[str, Cost]] = field(default_factory=dict)
    forecasts: dict[str, Forecast] = field(default_factory=dict)
    _plans: tuple[Plan, ...] = ()
    _reported: dict[str, TargetFacts] = field(default_factory=dict)

    def prepare(self, names: Iterable[str], copies: int = 0) -> None:
        """Check targets before anything is loaded; a CUDA device must hold `copies` of each.

        `copies` is 0 if this process alone loads one. Raises UserError if one that was named cannot
        be used, or none of the implied ones can.
        """
        for name in names:
            self._prepare(name, copies)
        if not self.weight_bytes:
            self.refuse_nothing()

    def _prepare(self, name: str, copies: int) -> None:
        try:
            reference = self.references.get(name)
            if isinstance(reference, Target):
                preflight(reference, copies)
            elif reference is not None:
                read_reference(reference)
            if self.targets[name].is_served:
                from probes.engines.endpoint.connection import check

                check(self.targets[name])
                gguf = self.targets[name].gguf
                self.weight_bytes[name] = 0 if gguf is None else gguf.stat().st_size
                return
            usable = preflight(self.targets[name], copies)
        except UserError as error:
            if name not in self.implied:
                raise
            self.left_out[name] = str(error)
        else:
            self.weight_bytes[name] = usable.checkpoint.weight_bytes

    def refuse_nothing(self) -> None:
        """Raise NothingCanRunError if targets are left out; call it where no other remains."""
        if self.left_out:
            raise NothingCanRunError([*self.left_out.values()])

    def expected_times(self, target: str) -> ExpectedTimes:
        """Return what each claim is expected to take on a target."""
        return ExpectedTimes(self.earlier_costs.get(target, {}))

    def begin_forecasts(self, tests: Sequence[tuple[str, Claim | None]], workers: int) -> None:
        """Expect tests, each named by its first target and the claim it decides, if any.

        So many `workers` share them.
        """
        for target in dict.fromkeys(name for name, _ in tests):
            checks = Counter(claim.id for name, claim in tests if name == target and claim)
            times = self.expected_times(target)
            alone = self.budget is not None
            self.forecasts[target] = Forecast(checks, times, alone=alone, workers=workers)

    def share_tokens(self, workers: int) -> None:
        """Leave one of several workers its share of each target's token budget."""
        self.targets = {
            name: target.model_copy(update={"token_budget": max(1, target.token_budget // workers)})
            if target.token_budget is not None
            else target
            for name, target in self.targets.items()
        }

    def plan(self, tests: Sequence[tuple[str, Claim | None]], workers: int) -> None:
        """Plan tests, each named by its target and the claim it decides, if any.

        Raises UserError if a target cannot be used.
        """
        self._plans = tuple(
            self._plan(target, [c for name, c in tests if name == target and c], workers)
            for target in dict.fromkeys(name for name, _ in tests)
        )

    def model(self, target: str) -> TransformersEngine | EndpointEngine:
        """Return a target's model; what is not used of it is not loaded."""
        if self.targets[target].is_served:
            from probes.engines.endpoint.connection import connect

            return connect(self.targets[target])
        from probes.engines.transformers.engine import load

        return load(self.targets[target], self.copies)

    def reference(self, target: str) -> TransformersEngine | RecordedReference:
        """Return what a target is compared with; UserError where nothing is named."""
        from probes.engines.transformers.engine import load

        if target not in self.references:
            raise UserError(NO_REFERENCE)
        found = self.references[target]
        return load(found, self.copies) if isinstance(found, Target) else read_reference(found)

    def missing(self, target: str, needs: Iterable[str]) -> str | None:
        """Return why a target cannot decide a claim, by the first need it lacks; None if it can."""
        model = self.model(target)
        known = {REFERENCE} if target in self.references else set()
        return next(
            (
                reason
                for need in needs
                if need not in known and (reason := model.explain_missing(need)) is not None
            ),
            None,
        )

    def is_expected(self, target: str, claim: Claim) -> bool:
        """Return whether a claim must hold on a target."""
        return self.targets[target].is_expected(claim)

    def cost(self, target: str) -> Cost:
        """Return what measuring a target has cost so far."""
        return self.model(target).cost

    def message(self, target: str, **found: Any) -> Message:
        """Return a message with these fields, and all else that is not reported yet."""
        facts = self._describe(target)
        news = (
            None
            if self._reported.get(target) == facts
            else (facts, describe_environment(facts.device))
        )
        self._reported[target] = facts
        plans, self._plans = self._plans, ()
        return Message(target=target, facts=news, plans=plans, **found)

    def _describe(self, target: str) -> TargetFacts:
        """Return what is known of a target now, and what it is compared with."""
        facts = self.model(target).facts()
        if target in self.references:
            named = name_reference(self.references[target])
            facts = facts.model_copy(update={"reference": named})
        return facts

    def _plan(self, target: str, claims: Sequence[Claim], workers: int) -> Plan:
        model = self.model(target)
        planned = Counter(claim.id for claim in claims)
        records = {
            claim.id: ClaimRecord(
                **claim.model_dump(),
                expected=self.is_expected(target, claim),
                planned=planned[claim.id],
                deselected=self.deselected[target, claim.id],
            )
            for claim in claims
        }
        header = Record(
            suite=__version__,
            started=utc_now(),
            seed=self.seed,
            target=self._describe(target),
            environment=describe_environment(workers=workers),
            claims=_in_reading_order(records),
        )
        checkpoint = getattr(model, "checkpoint", None)  # of transformers' engine alone
        gguf = self.targets[target].gguf
        folder = checkpoint and checkpoint.folder if gguf is None else gguf.parent
        return Plan(header=header, folder=folder)


SESSION = pytest.StashKey[Session]()


def session_of(config: pytest.Config) -> Session:
    """Return this process's part in the run."""
    return config.stash[SESSION]


def choose_targets(
    names: Collection[str],
    *,
    gpu_too: bool = False,
    overrides: Mapping[str, str | None] | None = None,
    reference: str | None = None,
    targets_file: Path | None = None,
    project: Path | None = None,
) -> Session:
    """Return a session with the targets that a command line names, or the embedded model.

    Each name is a target, a folder or a hub id. `gpu_too` adds, if none is named, every known
    target that asks for a CUDA device. `overrides` are the loading options, for all targets.
    `reference` names what each is compared with, instead of the target's own.
    `targets_file` and the `pyproject.toml` in `project` may define targets. Raises UserError if a
    name or an option is wrong.

    >>> list(choose_targets([]).targets)
    ['embedded']
    """
    implied = []
    if gpu_too and not names:
        known = list_targets(targets_file=targets_file, project=project)
        implied = [name for name, target in known.items() if asks_for_cuda(target)]
    targets = [
        resolve(name, targets_file=targets_file, project=project, overrides=overrides)
        for name in [*(names or [DEFAULT_TARGET]), *implied]
    ]
    for name, count in Counter(target.name for target in targets).items():
        if count > 1:
            raise UserError(
                f"{count} targets are called {name!r}: name each once, or give them names of "
                "their own in a targets file"
            )
    references = {
        target.name: _resolve_reference(named, targets_file, project)
        for target in targets
        if (named := reference or target.reference) is not None
    }
    return Session(
        {target.name: target for target in targets}, references, implied=frozenset(implied)
    )


@cache
def read_reference(file: Path) -> RecordedReference:
    """Read a record that engines are compared with, or raise UserError; once a process."""
    from probes.engines.recorded import RecordedReference

    return RecordedReference(read(file))


@cache
def name_reference(reference: Target | Path) -> str:
    """Return a reference's name and the beginning of its fingerprint, once a process.

    >>> name_reference(choose_targets([]).targets["embedded"])
    'embedded (ee10166e9c7d)'
    """
    if isinstance(reference, Path):
        found = read(reference).target
        name, fingerprint = found.name, found.fingerprint or ""
    else:
        name, fingerprint = reference.name, preflight(reference).checkpoint.fingerprint()
    return f"{name} ({fingerprint[:12]})" if fingerprint else name


def _resolve_reference(text: str, targets_file: Path | None, project: Path | None) -> Target | Path:
    if text.endswith(RECORD_FILE):
        return Path(text)
    found = resolve(text, targets_file=targets_file, project=project)
    if found.gguf is not None and found.engine is None:
        return found.model_copy(update={"engine": "transformers"})
    if found.is_served:
        raise UserError(f"a reference is computed by transformers, and {found.name!r} is served")
    return found


def asks_for_cuda(target: Target) -> bool:
    """Return whether a target is to run on a CUDA device and nowhere else."""
    return target.device.startswith("cuda")


def _in_reading_order(claims: Mapping[str, ClaimRecord]) -> tuple[ClaimRecord, ...]:
    """Sort built-in claims as in the catalogue; an author's own follow as they were collected."""
    own = [claim_id for claim_id in claims if claim_id not in catalogue()]
    return tuple(claims[i] for i in [*catalogue(), *own] if i in claims)
