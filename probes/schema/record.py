"""The record of one run on one target: what it holds, key by key.

This module and everything that reads records works without torch, so that a laptop without it can
report on and compare runs. ``docs/record.md`` explains the format, ``docs/record.schema.json`` is
generated from the models below.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
)

from probes.schema.base import Stored
from probes.schema.claim import Claim, Need, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA_VERSION: Literal[2] = 2


class Verdict(str, Enum):
    """What became of a claim, or of one check of it."""

    HOLDS = "holds"
    FAILS = "fails"
    ERROR = "error"
    NOT_APPLICABLE = "not applicable"


def to_storable(value: object) -> object:
    r"""A value as strict JSON in UTF-8 can hold it, so that memory and file never differ.

    Numbers that are not finite become the words `NaN`, `Infinity` and `-Infinity`; a lone
    surrogate, which UTF-8 cannot hold, is spelled out; tuples become lists.

    >>> to_storable({"loss": float("nan"), "pieces": ("▁a", "\ud800")})
    {'loss': 'NaN', 'pieces': ['▁a', '\\ud800']}
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {to_storable(key): to_storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_storable(item) for item in value]
    return value


Text = Annotated[str, AfterValidator(to_storable)]
"""A text that may come from a model, a tokenizer or a file name."""

Values = Annotated[dict[str, JsonValue], BeforeValidator(to_storable)]
"""Evidence by name, as strict JSON holds it."""


class TargetFacts(Stored):
    """What was tested."""

    name: Text
    """The target's name: a key of the targets file, a folder's last part, or a hub id."""
    source: str
    """Where it was loaded from: `embedded`, `folder` or `hub`."""
    repository: str | None = None
    """The hub id, for a target from the hub."""
    revision: str | None = None
    """The commit that was loaded, as the hub resolved it."""
    quantization: str = "none"
    """`none` or `nf4`."""
    dtype: str = "auto"
    """The floating-point type asked for until the model is loaded, then the one in use."""
    device: str = "auto"
    """The device asked for until the model is loaded, then the one in use, such as `cuda:0`."""
    attention: str = "auto"
    """transformers' name of the attention implementation, such as `sdpa`."""
    architecture: str | None = None
    """The model class, such as `MistralForCausalLM`."""
    tokenizer: str | None = None
    """The tokenizer class in use."""
    vocabulary: int | None = None
    """Number of tokens the tokenizer knows."""
    parameters: int | None = None
    """Number of parameters, before any quantization."""
    weight_bytes: int | None = None
    """Bytes the weights occupy in memory as loaded."""
    fingerprint: str | None = None
    """SHA-256 over the checkpoint's files (of weight files above 64 MiB: size and header only)."""


class Environment(Stored):
    """What it was tested with. Nothing here names a machine, a user or a path."""

    python: str
    """Version of Python."""
    platform: str
    """Operating system and processor architecture, such as `Linux x86_64`."""
    packages: dict[str, str]
    """Versions of the libraries below the model, by their distribution's name."""
    accelerator: str | None = None
    """The device's own name, such as `NVIDIA H100 80GB HBM3`; none on a CPU."""
    cuda: str | None = None
    """The CUDA version torch was built for, if a CUDA device is in use."""
    threads: int | None = None
    """Threads torch computes with on the CPU."""
    workers: int = 1
    """Processes that shared the run, each with a model of its own."""


class Cost(Stored):
    """What a check, or a whole run, took."""

    seconds: float = 0.0
    """Wall-clock seconds; of a run, those of its checks added up."""
    forward_passes: int = 0
    """Calls of the model's forward."""
    rows: int = 0
    """Sequences in those calls, batches counted row by row."""
    tokens: int = 0
    """Token positions computed in those calls, padding included."""

    def __add__(self, other: Cost) -> Cost:
        """The two together."""
        return Cost(
            seconds=self.seconds + other.seconds,
            forward_passes=self.forward_passes + other.forward_passes,
            rows=self.rows + other.rows,
            tokens=self.tokens + other.tokens,
        )

    def __sub__(self, other: Cost) -> Cost:
        """What came on top of `other`."""
        return Cost(
            seconds=self.seconds - other.seconds,
            forward_passes=self.forward_passes - other.forward_passes,
            rows=self.rows - other.rows,
            tokens=self.tokens - other.tokens,
        )


class Check(Stored):
    """One test of a claim: its verdict and the numbers behind it."""

    name: Text
    """The test's name with its parameters, without the target's name."""
    verdict: Verdict
    """What became of it."""
    reason: Text = ""
    """Why: the failed assertion in one or a few lines, or what was missing."""
    values: Values = Field(default_factory=dict)
    """The evidence, by name: numbers, texts, lists and tables, as the probe measured them."""
    cost: Cost = Cost()
    """What it took, the loading of the model excluded."""


class ClaimRecord(Stored):
    """One claim and its verdict."""

    id: str
    """The claim's id."""
    section: Text
    """Heading it stands under."""
    title: Text
    """The statement."""
    status: Status
    """Relation to the published experiment."""
    differs: Text = ""
    """What is really so, where the published text is imprecise."""
    needs: tuple[Need, ...] = ()
    """What a target must have for it."""
    planned: int = 0
    """Number of checks the run set out to make."""
    deselected: int = 0
    """Number of its checks that the command line left out."""
    verdict: Verdict | None = None
    """None only where the run was stopped before the claim was decided."""
    reason: Text = ""
    """Why, in one line: the first failing check's reason, or what a target lacks."""
    evidence: tuple[Check, ...] = ()
    """Its checks, in the order they were collected."""


class Rate(Stored):
    """How fast one thing was done, or why that was not measured."""

    what: str
    """What was timed: `copy` of memory, `prefill` up to the first new token, `decode` of the tokens
    after it; or, of many continuations of one prompt, how they were made: `loop`,
    `num_return_sequences`, `continuous batching`."""
    unit: Literal["bytes", "tokens", "samples"]
    """What is counted."""
    batch: int = 1
    """Sequences computed together; of continuations, how many were asked for."""
    cache: Literal["none", "dynamic", "static", "paged"] = "none"
    """The kind of key-value cache; none where memory is copied."""
    compiled: bool = False
    """Whether the forward pass was compiled by `torch.compile`."""
    prompt_tokens: int = 0
    """Tokens of each prompt."""
    new_tokens: int = 0
    """Tokens added to each prompt."""
    per_second: float | None = None
    """The rate: the median of the repetitions; none where it was not measured."""
    low: float | None = None
    """The rate of the slowest repetition."""
    high: float | None = None
    """The rate of the fastest repetition."""
    repetitions: int = 0
    """Timed repetitions; those that warmed up are not among them."""
    bytes_per_token: float | None = None
    """Bytes of weights and of the key-value cache that must be read for each token."""
    limit: float | None = None
    """The rate at which reading those bytes would take all of the copy bandwidth measured."""
    share: float | None = None
    """The rate as a share of that limit."""
    peak_bytes: int | None = None
    """Most memory that torch held on the device meanwhile; none on a CPU, where it is not known."""
    reason: Text = ""
    """Why it was not measured."""

    @property
    def key(self) -> tuple[str, int, str, bool]:
        """What was measured and how: of two runs, rates under one key can be compared."""
        return self.what, self.batch, self.cache, self.compiled


class Record(Stored):
    """One run on one target."""

    schema_version: Literal[2] = SCHEMA_VERSION
    """Version of this format."""
    suite: str
    """Version of this package that wrote it."""
    started: str
    """Start of the run, UTC, ISO 8601."""
    finished: str | None = None
    """End of the run, UTC, ISO 8601; none if it was stopped."""
    complete: bool = False
    """Whether every planned check was made."""
    target: TargetFacts
    """The target, with what is known of it."""
    environment: Environment
    """What it was tested with."""
    cost: Cost = Cost()
    """What the checks took together."""
    claims: tuple[ClaimRecord, ...] = ()
    """The claims, in the order a learner would read them."""
    throughput: tuple[Rate, ...] = ()
    """How fast it was, in the order it was measured; empty where that was not asked for."""


def decide_verdict(checks: list[Check], planned: int) -> tuple[Verdict | None, str]:
    """The verdict of a claim from its checks, with its reason.

    One failing check fails the claim; else one error makes it an error; else the claim holds only
    if every planned check was made and at least one held. A stopped run leaves it undecided.

    >>> decide_verdict([Check(name="a", verdict=Verdict.HOLDS)], planned=2)
    (None, 'stopped after 1 of 2 checks')
    >>> decide_verdict([Check(name="a", verdict=Verdict.HOLDS)], planned=1)
    (<Verdict.HOLDS: 'holds'>, '')
    """
    for verdict in (Verdict.FAILS, Verdict.ERROR):
        for check in checks:
            if check.verdict is verdict:
                return verdict, _first_line(check.reason)
    if len(checks) < planned:
        return None, f"stopped after {len(checks)} of {planned} checks"
    if any(check.verdict is Verdict.HOLDS for check in checks):
        return Verdict.HOLDS, ""
    return Verdict.NOT_APPLICABLE, _first_line(checks[0].reason) if checks else "no check was made"


def _first_line(reason: str) -> str:
    """A reason cut to a line; the check keeps the rest."""
    return next((line.strip() for line in reason.splitlines() if line.strip()), "")


def count_verdicts(claims: Iterable[ClaimRecord]) -> Counter[Verdict | None]:
    """How many claims came to each verdict; under None, those a stopped run left undecided."""
    return Counter(claim.verdict for claim in claims)


def group_inapplicable(claims: Iterable[ClaimRecord]) -> list[tuple[str, list[str]]]:
    """Ids of claims that could not be decided, those with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for claim in claims:
        if claim.verdict is Verdict.NOT_APPLICABLE:
            reasons.setdefault(claim.reason, []).append(claim.id)
    return list(reasons.items())


def fold(
    header: Record,
    facts: Iterable[tuple[TargetFacts, Environment]] = (),
    checks: Iterable[tuple[str, Check]] = (),
    finished: str | None = None,
    rates: Iterable[Rate] = (),
) -> Record:
    """The record of a run from what was written while it ran.

    Args:
        header: The plan: claims with their planned counts and no evidence.
        facts: What became known of target and environment, oldest first, from any worker.
        checks: Claim id and check, in the order they are to stand. A claim that was not
            planned is kept too.
        finished: When the run ended; None for a run that was stopped.
        rates: What was measured of its throughput, in the order it came.
    """
    found: dict[str, list[Check]] = {claim.id: [] for claim in header.claims}
    for claim_id, check in checks:
        found.setdefault(claim_id, []).append(check)
    planned = {claim.id: claim for claim in header.claims}
    claims = tuple(
        _decided(planned.get(claim_id) or _unplanned(claim_id), evidence)
        for claim_id, evidence in found.items()
    )
    target, environment = _merged(header, list(facts))
    return header.model_copy(
        update={
            "finished": finished,
            "complete": finished is not None
            and all(len(claim.evidence) >= claim.planned for claim in claims),
            "target": target,
            "environment": environment,
            "cost": sum((check.cost for claim in claims for check in claim.evidence), Cost()),
            "claims": claims,
            "throughput": tuple(rates),
        }
    )


def _decided(claim: ClaimRecord, evidence: list[Check]) -> ClaimRecord:
    """The claim with its checks and what follows from them."""
    verdict, reason = decide_verdict(evidence, claim.planned)
    return claim.model_copy(
        update={"verdict": verdict, "reason": reason, "evidence": tuple(evidence)}
    )


def _unplanned(claim_id: str) -> ClaimRecord:
    """A place for the checks of a claim that the plan did not name."""
    section = str(Claim.model_fields["section"].default)
    return ClaimRecord(id=claim_id, section=section, title=claim_id, status=Status.OURS)


def _merged(
    header: Record, facts: list[tuple[TargetFacts, Environment]]
) -> tuple[TargetFacts, Environment]:
    """Target and environment with all that became known, key by key.

    A worker that never loaded the model knows less than another: what is known is never replaced
    by what is not. Workers on several devices have them all listed.
    """
    target, environment = header.target.model_dump(), header.environment.model_dump()
    for known_target, known_environment in facts:
        target |= _known(known_target)
        environment |= _known(known_environment)
    devices = sorted({known.device for known, _ in facts} - {"auto"})
    if devices:
        target["device"] = ", ".join(devices)
    workers = [header.environment.workers, *(known.workers for _, known in facts)]
    environment["workers"] = max(workers)
    return TargetFacts(**target), Environment(**environment)


def _known(facts: TargetFacts | Environment) -> dict[str, object]:
    """The keys whose value is known."""
    unknown = (None, "auto")
    return {key: value for key, value in facts.model_dump().items() if value not in unknown}


def utc_now() -> str:
    """This moment in UTC, ISO 8601, to the second: `2026-11-23T07:51:20Z`."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def schema() -> dict[str, object]:
    """The JSON schema of `record.json`, as `docs/record.schema.json` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Record.model_json_schema(mode="serialization"),
    }
