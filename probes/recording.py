"""Recorded outputs: what a file of them holds, and how a later run is compared with it.

Pure functions on plain data: nothing here reads a model, a file or an option. Text may legally
differ from what was recorded where two tokens were almost equally likely; so the top logits are
recorded with it, and tell such a near-tie from a change. ``docs/recorded-outputs.md`` explains the
format.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from probes.errors import UserError
from probes.jsonfile import parse_object, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from probes.record import Environment, TargetFacts

FORMAT: Literal[1] = 1

TOP = 5
"""How many of a step's largest logits are recorded."""


class _Stored(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_inf_nan="strings", use_attribute_docstrings=True
    )


class RecordedText(_Stored):
    """A greedy text, with the logits that chose it."""

    prompt_ids: tuple[int, ...]
    """Token ids of the prompt."""
    ids: tuple[int, ...]
    """Token ids of the text."""
    text: str
    """Those ids decoded, special tokens left out."""
    top_ids: tuple[tuple[int, ...], ...]
    """For each step the token ids of the largest logits, the largest first."""
    top_logits: tuple[tuple[float, ...], ...]
    """For each step those logits."""

    @model_validator(mode="after")
    def _aligned(self) -> RecordedText:
        steps = [len(row) for row in self.top_ids]
        if steps != [len(row) for row in self.top_logits] or len(steps) != len(self.ids):
            raise ValueError("ids, top_ids and top_logits differ in length")
        if min(steps, default=2) < 2:
            raise ValueError("a step has fewer than two logits")
        return self

    def margin(self, step: int) -> float:
        """Distance of a step's two largest logits."""
        first, second = self.top_logits[step][:2]
        return first - second


class RecordedNumber(_Stored):
    """A number, with how far it may drift."""

    value: float
    """What was measured."""
    tolerance: float = Field(gt=0)
    """The largest drift that rounding explains, in the number's own unit."""
    origin: str
    """Where that tolerance comes from."""


class Made(_Stored):
    """What a recording was made with. All but the last two tell which runs it is for."""

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
    fingerprint: str | None
    """SHA-256 over the checkpoint's files; another one is named where something changed."""
    packages: dict[str, str]
    """Versions of the libraries; other ones are named where something changed."""

    @property
    def key(self) -> str:
        """Name of the environment, fit for a file name: other keys are never compared."""
        parts = (self.target, self.device, self.dtype, self.quantization, self.attention)
        return "--".join(re.sub(r"[^\w.]+", "-", part) for part in parts)

    @property
    def words(self) -> str:
        """The environment in words."""
        quantized = "" if self.quantization == "none" else f" {self.quantization}"
        return (
            f"{self.target} on {self.device} in {self.dtype}{quantized}, attention {self.attention}"
        )


class Recording(_Stored):
    """Outputs of one target in one environment."""

    format: Literal[1] = FORMAT
    """Version of this format."""
    made: Made
    """What they were made with."""
    texts: dict[str, RecordedText] = Field(default_factory=dict)
    """Greedy texts by prompt."""
    numbers: dict[str, RecordedNumber] = Field(default_factory=dict)
    """Numbers by name."""


MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Processor architectures that have two names."""

BELOW = ("bitsandbytes", "tokenizers", "torch", "transformers")
"""Libraries whose change can explain another output."""


def made(facts: TargetFacts, environment: Environment) -> Made:
    """What a recording is made with, from the facts of a model that is loaded.

    >>> from probes import environment, load
    >>> model = load("embedded")
    >>> _ = model.network
    >>> made(model.facts(), environment.describe()).dtype
    'float32'
    """
    kind = facts.device.partition(":")[0]
    machine = environment.platform.rpartition(" ")[2].lower()
    return Made(
        target=facts.name,
        device=f"{kind} {environment.accelerator or MACHINES.get(machine, machine)}",
        dtype=facts.dtype,
        quantization=facts.quantization,
        attention=facts.attention,
        fingerprint=facts.fingerprint,
        packages={name: v for name, v in environment.packages.items() if name in BELOW},
    )


def parse(text: str, what: str) -> Recording:
    """A recording from a file's text.

    Args:
        text: what the file holds.
        what: names the file in a refusal.

    Raises:
        UserError: The text is no recording, or one of another format.

    >>> parse('{"format": 9}', "old.json")
    Traceback (most recent call last):
    probes.errors.UserError: old.json has format 9, this version reads 1: record it anew ...
    """
    remedy = "record it anew with --snapshot-update"
    try:
        content = parse_object(text.encode("utf-8"), what=what)
    except UserError as error:
        raise UserError(f"{error}: {remedy}") from None
    if content.get("format") != FORMAT:
        version = shown(content.get("format"))
        raise UserError(f"{what} has format {version}, this version reads {FORMAT}: {remedy}")
    try:
        return Recording.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{what} holds no recording: {where}: {first['msg']}: {remedy}") from None


def dump(recording: Recording) -> str:
    """A recording as a file's text: keys sorted, a list of numbers on one line.

    >>> made = Made(target="t", device="cpu x86_64", dtype="float32", quantization="none",
    ...             attention="sdpa", fingerprint=None, packages={})
    >>> parse(dump(Recording(made=made)), "a file") == Recording(made=made)
    True
    """
    content = recording.model_dump(mode="json")
    text = json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True)
    # Within strings a line break is escaped: whatever this finds is a list, and no text.
    return re.sub(r'\[\n\s*([^\[\]{}"]*?)\n\s*\]', _on_one_line, text) + "\n"


def _on_one_line(found: re.Match[str]) -> str:
    return "[" + re.sub(r",\s+", ", ", found[1]) + "]"


class Outcome(str, Enum):
    """What became of one recorded output."""

    SAME = "same"
    NEAR_TIE = "near-tie"
    CHANGED = "changed"
    DRIFTED = "drifted"
    OTHER_PROMPT = "other prompt"
    UNUSED = "unused"
    NEW = "not recorded"

    @property
    def holds(self) -> bool:
        """Whether rounding explains all there is."""
        return self in (Outcome.SAME, Outcome.NEAR_TIE)


@dataclass(frozen=True)
class Finding:
    """One recorded output beside what it is now.

    Attributes:
        name: the prompt, or the number's name.
        outcome: what became of it.
        reason: that in words; empty where it is the same.
        drift: how far logits, or the number, moved; of a text that changed, before it did.
        share: the drift as a share of what is tolerated.
        step: of a text, the token that changed, from 0.
        margin: of a text that changed, distance of the recorded top two logits there.
        recorded: the text or number recorded.
        now: the text or number now.
    """

    name: str
    outcome: Outcome
    reason: str = ""
    drift: float | None = None
    share: float | None = None
    step: int | None = None
    margin: float | None = None
    recorded: str | float | None = None
    now: str | float | None = None


@dataclass(frozen=True)
class Present:
    """A text as it is now, beside a recorded one.

    Attributes:
        prompt_ids: token ids of the prompt.
        ids: token ids of the text.
        text: those ids decoded.
        logits: for each step up to the first difference, the logits of the recorded top tokens.
    """

    prompt_ids: Sequence[int]
    ids: Sequence[int]
    text: str
    logits: Sequence[Sequence[float]]


def compare_texts(
    recorded: Mapping[str, RecordedText],
    now: Mapping[str, Present],
    *,
    tolerance: float,
    noise: Callable[[], float],
) -> list[Finding]:
    """Compare texts with the recorded ones by the margin rule.

    Equal ids hold while no logit moves by more than the tolerance. At a first difference two
    logits that each move by the noise can close a gap of twice that: within it the two tokens are
    a near-tie, beyond it the text has changed. The noise is what this run measures, or what the
    logits of all texts moved by up to their first differences, but never above the tolerance.

    Args:
        recorded: the recorded texts by prompt.
        now: the present ones by prompt.
        tolerance: the largest change of a logit that rounding explains.
        noise: measures how far logits move in this run when nothing that matters changes; called
            only where a text differs.

    >>> text = RecordedText(prompt_ids=(1,), ids=(7,), text="a", top_ids=((7, 8),),
    ...                     top_logits=((2.0, 1.5),))
    >>> now = Present((1,), (8,), "b", [])
    >>> compare_texts({"P": text}, {"P": now}, tolerance=0.3, noise=lambda: 0.3)[0].outcome.value
    'near-tie'
    >>> compare_texts({"P": text}, {"P": now}, tolerance=0.3, noise=lambda: 0.1)[0].outcome.value
    'changed'
    """
    both = [name for name in recorded if name in now]
    measured = [_measured(name, recorded[name], now[name], tolerance) for name in both]
    explained = 0.0
    if any(finding.outcome is Outcome.CHANGED for finding in measured):
        moved = max(finding.drift or 0.0 for finding in measured)
        explained = min(tolerance, max(moved, noise()))
    return [
        *(_judged(finding, tolerance, explained) for finding in measured),
        *_one_sided(recorded, now),
    ]


def _measured(name: str, old: RecordedText, now: Present, tolerance: float) -> Finding:
    """A text's first difference and its drift before that; which it is, is judged later."""
    if tuple(old.prompt_ids) != tuple(now.prompt_ids):
        return Finding(name, Outcome.OTHER_PROMPT, recorded=old.text, now=now.text)
    same = common_length(old.ids, now.ids)
    moved = [
        _moved(a, b)
        for before, after in zip(old.top_logits[:same], now.logits[:same], strict=True)
        for a, b in zip(before, after, strict=True)
    ]
    drift = max(moved, default=0.0)
    finding = Finding(
        name, Outcome.SAME, drift=drift, share=drift / tolerance, recorded=old.text, now=now.text
    )
    if same == len(old.ids) == len(now.ids):
        return finding
    margin = old.margin(same) if same < len(old.ids) else None
    return replace(finding, outcome=Outcome.CHANGED, step=same, margin=margin)


def _judged(finding: Finding, tolerance: float, noise: float) -> Finding:
    """A measured text with its outcome, and that in words."""
    place = f"after {finding.name!r}"
    texts = f"\nrecorded: {finding.recorded!r}\nnow:      {finding.now!r}"
    if finding.outcome is Outcome.OTHER_PROMPT:
        reason = f"{place} nothing can be compared: the prompt has other token ids now{texts}"
        return replace(finding, reason=reason)
    if (finding.drift or 0.0) > tolerance:
        reason = f"{place} logits move by {finding.drift:.2g}, where rounding explains "
        same = "" if finding.step is None else f", and the text changes at step {finding.step}"
        reason += f"{tolerance:.2g}{same}{texts if same else ''}"
        return replace(finding, outcome=Outcome.DRIFTED, reason=reason)
    if finding.outcome is Outcome.SAME:
        return finding
    margin = "unknown" if finding.margin is None else f"{finding.margin:.2g}"
    change = f"{place} the text changes at step {finding.step}, where the recorded margin is "
    if finding.margin is not None and finding.margin <= 2 * noise:
        reason = f"{change}{margin}: a near-tie, as logits move by {noise:.2g} here{texts}"
        return replace(finding, outcome=Outcome.NEAR_TIE, reason=reason)
    reason = f"{change}{margin}: no near-tie, as logits move by {noise:.2g} here{texts}"
    return replace(finding, reason=reason)


def compare_numbers(
    recorded: Mapping[str, RecordedNumber], now: Mapping[str, RecordedNumber]
) -> list[Finding]:
    """Compare numbers with the recorded ones, each by the tolerance recorded with it.

    >>> old = RecordedNumber(value=0.5, tolerance=0.01, origin="float32")
    >>> new = RecordedNumber(value=0.52, tolerance=0.01, origin="float32")
    >>> compare_numbers({"p": old}, {"p": new})[0].reason
    'p is 0.52, recorded 0.5: a drift of 2 times what is tolerated (float32)'
    """
    both = [name for name in recorded if name in now]
    return [
        *(_number(name, recorded[name], now[name].value) for name in both),
        *_one_sided(recorded, now),
    ]


def _number(name: str, old: RecordedNumber, value: float) -> Finding:
    drift = _moved(old.value, value)
    share = drift / old.tolerance
    finding = Finding(name, Outcome.SAME, drift=drift, share=share, recorded=old.value, now=value)
    if share <= 1:
        return finding
    reason = (
        f"{name} is {value:.6g}, recorded {old.value:.6g}: a drift of {share:.3g} times what is "
        f"tolerated ({old.origin})"
    )
    return replace(finding, outcome=Outcome.DRIFTED, reason=reason)


def _one_sided(recorded: Iterable[str], now: Iterable[str]) -> list[Finding]:
    """What only one of the two has: an output no longer made, or one that is new."""
    old, new = list(recorded), list(now)
    remedy = "--snapshot-update"
    return [
        *(
            Finding(
                name,
                Outcome.UNUSED,
                f"unused: {name!r} is recorded but no longer made; {remedy} removes it",
            )
            for name in old
            if name not in new
        ),
        *(
            Finding(
                name,
                Outcome.NEW,
                f"{name!r} is not recorded, so compared with nothing; {remedy} records it",
            )
            for name in new
            if name not in old
        ),
    ]


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two texts share from the start.

    >>> common_length([1, 2, 3], [1, 2, 4])
    2
    """
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def changes(old: Made, new: Made) -> list[str]:
    """What differs between the making of a recording and now, in words.

    >>> old = Made(target="t", device="cpu x86_64", dtype="float32", quantization="none",
    ...            attention="sdpa", fingerprint="a", packages={"torch": "2.4.0"})
    >>> changes(old, old.model_copy(update={"packages": {"torch": "2.5.1"}}))
    ['torch 2.4.0 then, 2.5.1 now']
    """
    found = [
        f"{name} {old.packages.get(name, 'absent')} then, {new.packages.get(name, 'absent')} now"
        for name in sorted({*old.packages, *new.packages})
        if old.packages.get(name) != new.packages.get(name)
    ]
    if old.fingerprint != new.fingerprint:
        found.append("other model files than then")
    return found


def _moved(old: float, new: float) -> float:
    """Distance of two numbers; infinite where either is not finite and they differ."""
    distance = 0.0 if old == new else abs(old - new)
    return distance if math.isfinite(distance) else math.inf
