"""The format of recorded outputs, explained in ``docs/record.md``.

Text may differ from the recorded text where two tokens are almost equally likely; so the largest
logits are recorded with it, and `probes.stats.near_tie` uses them.
"""

from __future__ import annotations

import json
import re
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from probes._util.jsonfile import parse_object
from probes._util.text import quote
from probes.errors import UserError
from probes.schema.base import Stored, format_validation_error
from probes.schema.record import Environment, TargetFacts
from probes.schema.recorded_chat import RecordedChat
from probes.schema.recorded_ids import RecordedIds

FORMAT: Literal[1] = 1

REMEDY = "--snapshot-update records it again"


class RecordedText(Stored):
    """A greedy text, with the logits that chose it."""

    prompt_ids: tuple[int, ...]
    """Token ids of the prompt."""
    ids: tuple[int, ...]
    """Token ids of the text."""
    text: str
    """Those ids decoded, without special tokens."""
    top_ids: tuple[tuple[int, ...], ...] = ()
    """For each step the token ids of the largest logits, the largest first; empty if unknown."""
    top_logits: tuple[tuple[float, ...], ...] = ()
    """For each step those logits."""

    @model_validator(mode="after")
    def _check_lengths(self) -> RecordedText:
        steps = [len(row) for row in self.top_ids]
        if steps != [len(row) for row in self.top_logits] or len(steps) not in (0, len(self.ids)):
            raise ValueError("ids, top_ids and top_logits differ in length")
        return self


class RecordedNumber(Stored):
    """A number, with the drift allowed."""

    value: float
    """The measured number."""
    tolerance: float = Field(gt=0)
    """The largest drift that rounding explains, in the number's own unit."""
    origin: str
    """Source of the tolerance."""


class RecordedBeam(Stored):
    """A text that beam search found."""

    ids: tuple[int, ...]
    """Token ids of the text."""
    text: str
    """Those ids decoded, without special tokens."""
    score: float
    """Sum of their log-probabilities divided by their number, in nats."""


class RecordedBeams(Stored):
    """The texts that beam search found after a prompt."""

    prompt_ids: tuple[int, ...]
    """Token ids of the prompt."""
    beams: tuple[RecordedBeam, ...]
    """The best first."""


class RecordedLogits(Stored):
    """The largest logits at some positions of a given text."""

    prompt_ids: tuple[int, ...]
    """Token ids of the text."""
    positions: tuple[int, ...]
    """Positions, from 0: the logits are those of the token that comes next."""
    top_ids: tuple[tuple[int, ...], ...]
    """For each position the token ids of the largest logits, the largest first."""
    top_logits: tuple[tuple[float, ...], ...]
    """For each position those logits."""

    @model_validator(mode="after")
    def _check_lengths(self) -> RecordedLogits:
        rows = [len(row) for row in self.top_ids]
        if rows != [len(row) for row in self.top_logits] or len(rows) != len(self.positions):
            raise ValueError("positions, top_ids and top_logits differ in length")
        if not all(rows) or not rows:
            raise ValueError("a position has no logits")
        return self


class Provenance(Stored):
    """The target and the environment of a recording."""

    target: str
    """The target's name."""
    device: str
    """Kind and name of the device, such as `cpu x86_64` or `cuda NVIDIA H100 80GB HBM3`."""
    dtype: str
    """The floating-point type in use."""
    quantization: str
    """`none`, `nf4`, `nf4-double`, `fp4` or `int8`."""
    attention: str
    """transformers' name of the attention implementation."""
    circumstances: dict[str, str]
    """Versions and threads: not part of the key, but named where an output changed."""

    @property
    def key(self) -> str:
        """Target and environment as a file name: recordings are compared under one key only."""
        parts = (self.target, self.device, self.dtype, self.quantization, self.attention)
        return "--".join(re.sub(r"[^\w.]+", "-", part) for part in parts if part)

    @property
    def words(self) -> str:
        """Target and environment as text for a reader."""
        if not self.dtype:
            return f"the {self.device} of {self.target}"
        quantized = "" if self.quantization == "none" else f" {self.quantization}"
        return (
            f"{self.target} on {self.device} in {self.dtype}{quantized}, attention {self.attention}"
        )


class Recording(Stored):
    """Outputs of one target in one environment."""

    format: Literal[1] = FORMAT
    """Version of this format."""
    made: Provenance
    """Their target and environment."""
    texts: dict[str, RecordedText] = Field(default_factory=dict)
    """Greedy texts by prompt."""
    numbers: dict[str, RecordedNumber] = Field(default_factory=dict)
    """Numbers by name."""
    ids: dict[str, RecordedIds] = Field(default_factory=dict)
    """Token ids of many texts, by the name of the list of texts."""
    beams: dict[str, RecordedBeams] = Field(default_factory=dict)
    """Texts of beam search by prompt."""
    chats: dict[str, RecordedChat] = Field(default_factory=dict)
    """Rendered conversations by name."""
    logits: dict[str, RecordedLogits] = Field(default_factory=dict)
    """Logits along given texts, by the text's name."""

    @property
    def names(self) -> set[str]:
        """The names of all outputs."""
        return {*self.texts, *self.numbers, *self.ids, *self.beams, *self.chats, *self.logits}

    def completed_by(self, other: Recording) -> Recording:
        """Add the outputs of another recording that are missing here."""
        fields = ("texts", "numbers", "ids", "beams", "chats", "logits")
        return self.model_copy(
            update={name: getattr(other, name) | getattr(self, name) for name in fields}
        )


TOKENIZER = "tokenizer"
"""The device of what is recorded of a tokenizer alone: its ids are the same on any."""

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Processor architectures that have two names."""

BELOW = ("bitsandbytes", "tokenizers", "torch", "transformers")
"""Libraries whose change can explain another output."""


def describe_provenance(facts: TargetFacts, environment: Environment, *, batch: int) -> Provenance:
    """Describe a loaded model and its environment, where `batch` texts are generated at once."""
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


def describe_tokenizer(facts: TargetFacts, environment: Environment) -> Provenance:
    """Describe a target's tokenizer and its environment; no weights are needed."""
    whole = describe_provenance(facts, environment, batch=0)
    kept = {n: v for n, v in whole.circumstances.items() if n not in ("threads", "batch", "torch")}
    empty = dict.fromkeys(("dtype", "quantization", "attention"), "")
    return whole.model_copy(update={"device": TOKENIZER, "circumstances": kept, **empty})


def list_changes(old: Provenance, new: Provenance) -> list[str]:
    """List the circumstances that differ between a recording and now, for a reader.

    >>> old = Provenance(target="t", device="cpu x86_64", dtype="float32", quantization="none",
    ...                  attention="sdpa", circumstances={"torch": "2.4.0"})
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
    """Read a recording from a file's text; `what` names the file in a refusal.

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
    """Return a recording as a file's text: keys sorted, a list of numbers on one line.

    >>> made = Provenance(target="t", device="cpu x86_64", dtype="float32", quantization="none",
    ...                   attention="sdpa", circumstances={})
    >>> parse_recording(dump_recording(Recording(made=made)), "a file") == Recording(made=made)
    True
    """
    content = recording.model_dump(mode="json")
    text = json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True)
    # Line breaks inside strings are escaped, so this finds lists only.
    return re.sub(r'\[\n\s*([^\[\]{}"]*?)\n\s*\]', _join_lines, text) + "\n"


def _join_lines(found: re.Match[str]) -> str:
    return "[" + re.sub(r",\s+", ", ", found[1]) + "]"
