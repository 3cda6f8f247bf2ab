"""The record of one run on one target.

``docs/record.md`` explains the format; ``docs/record.schema.json`` is generated from the models
below. Reading records needs no torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timezone
from enum import Enum
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue

from probes.schema.base import Stored
from probes.schema.claim import Kind, Status

SCHEMA_VERSION: Literal[3] = 3


class Verdict(str, Enum):
    """The result of a claim, or of one check of it."""

    HOLDS = "holds"
    FAILS = "fails"
    ERROR = "error"
    NOT_OBSERVED = "not observed"
    """Of an observation that the target does not expect: it was measured and does not hold."""
    NOT_APPLICABLE = "not applicable"
    NOT_DECIDED = "not decided"
    """Left out, as the run was over its budget."""


BROKEN = (Verdict.FAILS, Verdict.ERROR)
"""Verdicts that need attention."""

UNKNOWN = (None, "auto")
"""Values of a fact that is not known yet."""

OPEN = (None, Verdict.NOT_DECIDED)
"""Verdicts of a claim that is not decided: the run was stopped, or over its budget."""


def to_storable(value: object) -> object:
    r"""Convert a value to what strict JSON in UTF-8 can hold, so that memory and file never differ.

    Numbers that are not finite become the texts `NaN`, `Infinity` and `-Infinity`; a lone
    surrogate, which UTF-8 cannot hold, becomes its escape; tuples become lists.

    >>> to_storable({"loss": float("nan"), "pieces": ("▁a", "\ud800")})
    {'loss': 'NaN', 'pieces': ['▁a', '\\ud800']}
    """
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {to_storable(key): to_storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        # Numbers are not asked one by one: records hold hundreds of thousands.
        return [
            item
            if type(item) is int or (type(item) is float and math.isfinite(item))
            else to_storable(item)
            for item in value
        ]
    return value


Text = Annotated[str, AfterValidator(to_storable)]
"""A text that may come from a model, a tokenizer or a file name."""

Values = Annotated[dict[str, JsonValue], BeforeValidator(to_storable)]
"""Evidence by name, as strict JSON holds it."""


class Described(Stored):
    """A part of a record, whose JSON schema describes each field by its docstring.

    Reading docstrings takes its time: what has no schema goes without.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)


class TargetFacts(Described):
    """Known facts about a target."""

    name: Text
    """The target's name: a key of a targets file, the last part of a folder, or a hub id."""
    source: str
    """Where it was loaded from: `embedded`, `folder`, `hub`, `gguf` for a GGUF file, or `endpoint`
    for what a server computes."""
    repository: str | None = None
    """The hub id, for a target from the hub."""
    revision: str | None = None
    """The commit that was loaded, as the hub resolved it."""
    address: Text | None = None
    """The address of an endpoint; it has no user, password or query."""
    served_model: Text | None = None
    """The model's name at that address."""
    reference: Text | None = None
    """What it is compared with, if anything: a name, and the beginning of its fingerprint."""
    quantization: str = "none"
    """`none`, `nf4`, `nf4-double`, `fp4` or `int8`."""
    dtype: str = "auto"
    """The requested floating-point type until the model is loaded, then the one in use."""
    device: str = "auto"
    """The requested device until the model is loaded, then the one in use, such as `cuda:0`."""
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


class Environment(Described):
    """Libraries and hardware of a run. Nothing here names a machine, a user or a path."""

    python: str
    """Version of Python."""
    platform: str
    """Operating system and processor architecture, such as `Linux x86_64`."""
    packages: dict[str, str]
    """Versions of the libraries below the model, by their distribution's name."""
    accelerator: str | None = None
    """The name of the device, such as `NVIDIA H100 80GB HBM3`; none on a CPU."""
    cuda: str | None = None
    """The CUDA version torch was built for, if a CUDA device is in use."""
    threads: int | None = None
    """Threads torch computes with on the CPU."""
    workers: int = 1
    """Processes that shared the run, each with a model of its own."""


class Cost(Described):
    """The cost of a check or of a whole run."""

    seconds: float = 0.0
    """Wall-clock seconds; of a run, the sum over its checks."""
    forward_passes: int = 0
    """Calls of the model's forward."""
    rows: int = 0
    """Sequences in those calls, batches counted row by row."""
    tokens: int = 0
    """Token positions computed in those calls, padding included."""

    def __add__(self, other: Cost) -> Cost:
        """Add two costs."""
        return Cost(
            seconds=self.seconds + other.seconds,
            forward_passes=self.forward_passes + other.forward_passes,
            rows=self.rows + other.rows,
            tokens=self.tokens + other.tokens,
        )

    def __sub__(self, other: Cost) -> Cost:
        """Subtract an earlier cost."""
        return Cost(
            seconds=self.seconds - other.seconds,
            forward_passes=self.forward_passes - other.forward_passes,
            rows=self.rows - other.rows,
            tokens=self.tokens - other.tokens,
        )


class Check(Described):
    """One test of a claim: its verdict and the numbers behind it."""

    name: Text
    """The test's name with its parameters, without the target's name."""
    verdict: Verdict
    """Its result."""
    reason: Text = ""
    """Why: the failed assertion in one or a few lines, or what was missing."""
    known_failure: Text = ""
    """Why it is known to fail, from the file of `--known-failures`; empty if it holds or is not."""
    values: Values = Field(default_factory=dict)
    """The evidence by name: numbers, texts, lists and tables, as measured."""
    cost: Cost = Cost()
    """Its cost, with loading the model, fixtures and shared measurements that it needs first."""


class ClaimRecord(Described):
    """One claim and its verdict."""

    id: str
    """The claim's id."""
    section: Text
    """Its heading in the report."""
    title: Text
    """The statement."""
    kind: Kind = Kind.CONTRACT
    """`contract` if it must hold on every target, `observation` if only where it is expected."""
    expected: bool = True
    """Whether it must hold on this target: a contract, or an observation that it expects."""
    status: Status
    """Relation to the published experiment."""
    differs: Text = ""
    """The precise fact, where the published text is imprecise."""
    needs: tuple[str, ...] = ()
    """What a target must have for it."""
    planned: int = 0
    """Number of planned checks."""
    deselected: int = 0
    """Number of its checks that the command line excluded."""
    verdict: Verdict | None = None
    """None only where the run was stopped before the claim was decided."""
    reason: Text = ""
    """Why, in one line: the first failing check's reason, or what a target lacks."""
    known_failure: Text = ""
    """Why it is known to fail, if each of its checks that fail or are errors is known to."""
    evidence: tuple[Check, ...] = ()
    """Its checks, in the order they were collected."""

    @property
    def cost(self) -> Cost:
        """The cost of its checks."""
        return sum((check.cost for check in self.evidence), Cost())


class Rate(Described):
    """A throughput, or why it was not measured."""

    what: str
    """What was timed: `copy` of memory, `prefill` up to the first new token, `decode` of the tokens
    after it; or, of many continuations of one prompt, how they were made: `loop`,
    `num_return_sequences`, `continuous batching`."""
    unit: Literal["bytes", "tokens", "samples"]
    """The unit of the rate."""
    batch: int = 1
    """Sequences computed together; of continuations, their number."""
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
    """Number of timed repetitions, without those for warm-up."""
    bytes_per_token: float | None = None
    """Bytes of weights and of the key-value cache that must be read for each token."""
    limit: float | None = None
    """The rate at which reading those bytes would take all of the copy bandwidth measured."""
    share: float | None = None
    """The rate as a share of that limit."""
    peak_bytes: int | None = None
    """Largest memory that torch held on the device; none on a CPU, where it is unknown."""
    reason: Text = ""
    """Why it was not measured."""

    @property
    def key(self) -> tuple[str, int, str, bool]:
        """What was measured and how: rates of two runs with the same key can be compared."""
        return self.what, self.batch, self.cache, self.compiled


class Record(Described):
    """One run on one target."""

    schema_version: Literal[3] = SCHEMA_VERSION
    """Version of this format."""
    suite: str
    """Version of this package that wrote it."""
    started: str
    """Start of the run, UTC, ISO 8601."""
    finished: str | None = None
    """End of the run, UTC, ISO 8601; none if it was stopped."""
    complete: bool = False
    """Whether every planned check was made."""
    seed: int | None = None
    """The seed of everything that is drawn; none where an older suite did not write it."""
    target: TargetFacts
    """The target, with what is known of it."""
    environment: Environment
    """Libraries and hardware."""
    cost: Cost = Cost()
    """The cost of all checks."""
    claims: tuple[ClaimRecord, ...] = ()
    """The claims, in the order a learner would read them."""
    throughput: tuple[Rate, ...] = ()
    """Measured throughput, in the order of the measurements; empty where it was not requested."""


def count_verdicts(claims: Iterable[ClaimRecord]) -> Counter[Verdict]:
    """Count the claims of each verdict; those that a stopped run left open are not decided."""
    return Counter(claim.verdict or Verdict.NOT_DECIDED for claim in claims)


def group_by_reason(claims: Iterable[ClaimRecord], verdict: Verdict) -> list[tuple[str, list[str]]]:
    """Group the ids of claims that have a verdict by their reason."""
    reasons: dict[str, list[str]] = {}
    for claim in claims:
        if claim.verdict is verdict:
            reasons.setdefault(claim.reason, []).append(claim.id)
    return list(reasons.items())


def utc_now() -> str:
    """Return the time in UTC, ISO 8601, to the second: `2026-11-23T07:51:20Z`."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def build_json_schema() -> dict[str, object]:
    """Return the JSON schema of `record.json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Record.model_json_schema(mode="serialization"),
    }
