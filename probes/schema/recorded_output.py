"""Recorded outputs: what a file of them holds, and how a later run is judged against it.

Pure functions on plain data: nothing here reads a model, a file or an option. Text may legally
differ from what was recorded where two tokens were almost equally likely; so the largest logits are
recorded with it. ``docs/recorded-outputs.md`` explains the format.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError, model_validator

from probes._util.jsonfile import parse_object
from probes._util.text import quote
from probes.errors import UserError
from probes.schema.base import Stored, format_validation_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes.schema.record import Environment, TargetFacts

FORMAT: Literal[1] = 1

REMEDY = "--snapshot-update records it anew"


class RecordedText(Stored):
    """A greedy text, with the logits that chose it."""

    prompt_ids: tuple[int, ...]
    """Token ids of the prompt."""
    ids: tuple[int, ...]
    """Token ids of the text."""
    text: str
    """Those ids decoded, special tokens left out."""
    top_ids: tuple[tuple[int, ...], ...] = ()
    """For each step the token ids of the largest logits, the largest first; empty if unknown."""
    top_logits: tuple[tuple[float, ...], ...] = ()
    """For each step those logits."""

    @model_validator(mode="after")
    def _aligned(self) -> RecordedText:
        steps = [len(row) for row in self.top_ids]
        if steps != [len(row) for row in self.top_logits] or len(steps) not in (0, len(self.ids)):
            raise ValueError("ids, top_ids and top_logits differ in length")
        return self


class RecordedNumber(Stored):
    """A number, with how far it may drift."""

    value: float
    """What was measured."""
    tolerance: float = Field(gt=0)
    """The largest drift that rounding explains, in the number's own unit."""
    origin: str
    """Where that tolerance comes from."""


class Provenance(Stored):
    """What a recording was made with."""

    target: str
    """The target's name."""
    device: str
    """Kind of device and its own name, such as `cpu x86_64` or `cuda NVIDIA H100 80GB HBM3`."""
    dtype: str
    """The floating-point type in use."""
    quantization: str
    """`none` or `nf4`."""
    attention: str
    """transformers' name of the attention implementation."""
    circumstances: dict[str, str]
    """What does not part recordings, and is named where an output changed: versions, threads."""

    @property
    def key(self) -> str:
        """Target and environment, fit for a file name: other keys are never compared."""
        parts = (self.target, self.device, self.dtype, self.quantization, self.attention)
        return "--".join(re.sub(r"[^\w.]+", "-", part) for part in parts)

    @property
    def words(self) -> str:
        """Target and environment in words."""
        quantized = "" if self.quantization == "none" else f" {self.quantization}"
        return (
            f"{self.target} on {self.device} in {self.dtype}{quantized}, attention {self.attention}"
        )


class Recording(Stored):
    """Outputs of one target in one environment."""

    format: Literal[1] = FORMAT
    """Version of this format."""
    made: Provenance
    """What they were made with."""
    texts: dict[str, RecordedText] = Field(default_factory=dict)
    """Greedy texts by prompt."""
    numbers: dict[str, RecordedNumber] = Field(default_factory=dict)
    """Numbers by name."""

    @property
    def names(self) -> set[str]:
        """The names of all outputs."""
        return {*self.texts, *self.numbers}

    def completed_by(self, other: Recording) -> Recording:
        """This recording, with the outputs of another that it lacks."""
        return self.model_copy(
            update={
                "texts": other.texts | self.texts,
                "numbers": other.numbers | self.numbers,
            }
        )


# --- files ---------------------------------------------------------------------------------------

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Processor architectures that have two names."""

BELOW = ("bitsandbytes", "tokenizers", "torch", "transformers")
"""Libraries whose change can explain another output."""


def describe_provenance(facts: TargetFacts, environment: Environment, *, batch: int) -> Provenance:
    """What a recording is made with.

    Args:
        facts: those of a model whose network is loaded.
        environment: where it runs.
        batch: texts made at once.

    >>> from probes import load
    >>> from probes.results import environment
    >>> model = load("embedded")
    >>> _ = model.network
    >>> describe_provenance(model.facts(), environment.describe(), batch=1).dtype
    'float32'
    """
    kind = facts.device.partition(":")[0]
    machine = environment.platform.rpartition(" ")[2].lower()
    return Provenance(
        target=facts.name,
        device=f"{kind} {environment.accelerator or MACHINES.get(machine, machine)}",
        dtype=facts.dtype,
        quantization=facts.quantization,
        attention=facts.attention,
        circumstances={
            "model files": str(facts.fingerprint)[:12],
            **{name: v for name, v in environment.packages.items() if name in BELOW},
            "threads": str(environment.threads),
            "batch": str(batch),
        },
    )


def list_changes(old: Provenance, new: Provenance) -> list[str]:
    """What differs between the making of a recording and now, in words.

    >>> old = Provenance(target="t", device="cpu x86_64", dtype="float32", quantization="none",
    ...            attention="sdpa", circumstances={"torch": "2.4.0"})
    >>> list_changes(old, old.model_copy(update={"circumstances": {"torch": "2.5.1"}}))
    ['torch 2.4.0 then, 2.5.1 now']
    """
    then, now = old.circumstances, new.circumstances
    return [
        f"{name} {then.get(name, 'absent')} then, {now.get(name, 'absent')} now"
        for name in dict.fromkeys([*now, *then])
        if then.get(name) != now.get(name)
    ]


def parse_recording(text: str, what: str) -> Recording:
    """A recording from a file's text.

    Args:
        text: what the file holds.
        what: names the file in a refusal.

    Raises:
        UserError: The text is no recording, or one of another format.

    >>> parse_recording('{"format": 9}', "old.json")
    Traceback (most recent call last):
    probes.errors.UserError: old.json has format 9, this version reads 1: --snapshot-update ...
    """
    try:
        content = parse_object(text.encode("utf-8"), what=what)
    except UserError as error:
        raise UserError(f"{error}: {REMEDY}") from None
    if content.get("format") != FORMAT:
        version = quote(content.get("format"))
        raise UserError(f"{what} has format {version}, this version reads {FORMAT}: {REMEDY}")
    try:
        return Recording.model_validate(content)
    except ValidationError as error:
        problem = format_validation_error(error)
        raise UserError(f"{what} is no recording: {problem}: {REMEDY}") from None


def dump_recording(recording: Recording) -> str:
    """A recording as a file's text: keys sorted, a list of numbers on one line.

    >>> made = Provenance(target="t", device="cpu x86_64", dtype="float32", quantization="none",
    ...             attention="sdpa", circumstances={})
    >>> parse_recording(dump_recording(Recording(made=made)), "a file") == Recording(made=made)
    True
    """
    content = recording.model_dump(mode="json")
    text = json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True)
    # Within strings a line break is escaped: whatever this finds is a list, and no text.
    return re.sub(r'\[\n\s*([^\[\]{}"]*?)\n\s*\]', _on_one_line, text) + "\n"


def _on_one_line(found: re.Match[str]) -> str:
    return "[" + re.sub(r",\s+", ", ", found[1]) + "]"


# --- judging -------------------------------------------------------------------------------------


class Outcome(str, Enum):
    """What became of one recorded output."""

    SAME = "same"
    NEAR_TIE = "near-tie"
    CHANGED = "changed"
    DRIFTED = "drifted"
    OTHER_PROMPT = "other prompt"


@dataclass(frozen=True)
class Comparison:
    """A greedy text beside the recorded one, as measured.

    Attributes:
        prompt: what was continued.
        texts: the recorded text and the present one.
        same_prompt: whether the prompt has the recorded token ids.
        drift: largest change of a recorded logit, up to the first token that differs, its own
            step included; 0 if no logits were recorded.
        step: number of the first token that differs, from 0; None if none does.
        tokens: the recorded token and the present one there, decoded.
        margin: distance of those two tokens' present logits.
    """

    prompt: str
    texts: tuple[str, str]
    same_prompt: bool = True
    drift: float = 0.0
    step: int | None = None
    tokens: tuple[str, str] = ("", "")
    margin: float = 0.0


@dataclass(frozen=True)
class Finding:
    """What became of one recorded output.

    Attributes:
        name: the prompt, or the number's name.
        outcome: what became of it.
        share: drift of its logits, or of the number, as a share of what is tolerated.
        recorded: the text or number recorded.
        now: the text or number now.
        reason: the outcome in words; empty where it is the same.
    """

    name: str
    outcome: Outcome
    share: float
    recorded: str | float
    now: str | float
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether rounding explains all there is."""
        return self.outcome in (Outcome.SAME, Outcome.NEAR_TIE)


def judge_text(text: Comparison, *, tolerance: float, noise: Callable[[], float]) -> Finding:
    """Judge a text by the margin rule.

    A logit that moves by more than the tolerance is a drift, whatever the text. Else equal tokens
    hold, and a first difference holds where the two tokens are a near-tie: two logits that each
    move by the noise can close a gap of twice that.

    Args:
        text: the text beside the recorded one.
        tolerance: the largest change of a logit that rounding explains.
        noise: measures how far logits move in this run when nothing that matters changes, called
            only where a text differs; no more than the tolerance is taken for noise.

    >>> text = Comparison("P", ("a b", "a c"), step=1, tokens=("b", "c"), margin=0.5)
    >>> judge_text(text, tolerance=0.3, noise=lambda: 0.3).outcome.value
    'near-tie'
    >>> judge_text(text, tolerance=0.3, noise=lambda: 0.1).outcome.value
    'changed'
    """
    recorded, now = text.texts
    share = text.drift / tolerance
    finding = Finding(text.prompt, Outcome.SAME, share, recorded, now)
    both = f"\nrecorded: {recorded!r}\nnow:      {now!r}"
    if not text.same_prompt:
        reason = f"the prompt {text.prompt!r} has other token ids than were recorded{both}"
        return replace(finding, outcome=Outcome.OTHER_PROMPT, reason=reason)
    first, second = text.tokens
    change = f"after {text.prompt!r} token {text.step} is {second!r}, recorded {first!r}"
    if not share <= 1:
        reason = (
            f"after {text.prompt!r} a logit moves by {text.drift:.2g}, {_rounded(share)} times "
            f"what rounding explains ({tolerance:.2g})"
        )
        if text.step is not None:
            reason += f"; {change}, {text.margin:.2g} apart{both}"
        return replace(finding, outcome=Outcome.DRIFTED, reason=reason)
    if text.step is None:
        return finding
    explained = min(noise(), tolerance)
    tie = text.margin <= 2 * explained
    reason = (
        f"{change}: their logits lie {text.margin:.2g} apart, "
        f"{'a near-tie' if tie else 'no near-tie'} where noise moves each by {explained:.2g}{both}"
    )
    return replace(finding, outcome=Outcome.NEAR_TIE if tie else Outcome.CHANGED, reason=reason)


def _rounded(share: float) -> str:
    """To three digits at least, and thousands set apart: 9150.2 is 9,150."""
    return f"{share:,.0f}" if share >= 1000 else f"{share:.3g}"


def judge_number(name: str, recorded: RecordedNumber, now: float) -> Finding:
    """Judge a number by the tolerance recorded with it.

    >>> old = RecordedNumber(value=0.5, tolerance=0.01, origin="float32")
    >>> judge_number("p", old, 0.52).reason
    'p is 0.52, recorded 0.5: 2 times the drift tolerated (float32)'
    """
    equal = recorded.value == now or (math.isnan(recorded.value) and math.isnan(now))
    share = 0.0 if equal else abs(now - recorded.value) / recorded.tolerance
    if share <= 1:
        return Finding(name, Outcome.SAME, share, recorded.value, now)
    reason = (
        f"{name} is {now:.6g}, recorded {recorded.value:.6g}: {_rounded(share)} times the drift "
        f"tolerated ({recorded.origin})"
    )
    return Finding(name, Outcome.DRIFTED, share, recorded.value, now, reason)
