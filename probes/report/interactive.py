"""What a reader can handle: a distribution to filter, texts to follow, a vocabulary to search.

Evidence of these shapes is taken from whatever claim attached it. What has another shape is left
out: a page is made of any record.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, TypeVar

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from probes.report.locale import LANGUAGES, texts
from probes.schema.sampling import LIBRARY_TOP_K, NARROW_HOT, NEAR_GREEDY, WIDE_HOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import JsonValue

    from probes.schema.record import Check, ClaimRecord, Record

PRESETS = {"near_greedy": NEAR_GREEDY, "narrow_hot": NARROW_HOT, "wide_hot": WIDE_HOT}
"""Settings with a button of their own, by the key of its text."""

LARGEST_VOCABULARY = 1_000_000
"""Tokens; of more, a page would be slow."""

LARGEST_TABLE = 32 * 1024 * 1024
"""Bytes of an unpacked vocabulary; a larger one is left out."""

LONGEST_TOKEN = 80
"""Characters; of a longer token only so many are shown."""

LEVELS = (0.9, 0.5, 0.2, 0.05)
"""Probabilities from which on a token has the colour 0, 1, 2, 3; below the last it has 4."""


KEPT_TO_COMPARE = ("kept_prompts", "kept_texts")
"""What a record keeps for comparisons with another: logits by the thousand, nothing to look at."""


_Count = Annotated[int, Field(ge=0, le=2**53)]
"""What a browser counts exactly."""


class _Evidence(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Token(_Evidence):
    id: _Count
    text: str


class _Distribution(_Evidence):
    """As `probes.measure.distribution` keeps it."""

    prompt: str
    answer: _Count | None
    vocabulary: Annotated[int, Field(ge=2, le=LARGEST_VOCABULARY)]
    top: Annotated[list[_Token], Field(min_length=1)]
    head: Annotated[list[float], Field(min_length=1)]
    step: Annotated[int, Field(ge=1)]
    tail: list[float]

    def is_whole(self) -> bool:
        """Whether the logits are in order and as many as they should be."""
        rest = self.vocabulary - len(self.head)
        # The first of the tail, then one a step, and the last of all.
        expected = 0 if rest <= 0 else 1 + -(-(rest - 1) // self.step)
        in_order = all(a >= b for a, b in pairwise([*self.head, *self.tail]))
        return in_order and rest >= 0 and len(self.tail) == expected


class _Alternative(_Evidence):
    text: str
    probability: float


class _Step(_Evidence):
    id: _Count
    text: str
    probability: float
    rank: _Count
    margin: float
    near_tie: bool
    entropy: float
    kept: _Count
    alternatives: list[_Alternative]


class _Trace(_Evidence):
    """As `probes.measure.token_trace` follows a text."""

    prompt: str
    steps: Annotated[list[_Step], Field(min_length=1)]


_TRACE = TypeAdapter(_Trace)
_DISTRIBUTION = TypeAdapter(_Distribution)
_SETTINGS = TypeAdapter(dict[str, float], config=ConfigDict(strict=True, allow_inf_nan=False))
_PIECES = TypeAdapter(list[str])

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True)
class Preset:
    """A button's settings: the key of its text, and what it sets."""

    key: str
    temperature: float
    top_k: int
    top_p: float


@dataclass(frozen=True)
class Explorer:
    """Distributions to filter: what a page's controls start from, and what its script reads."""

    prompts: tuple[str, ...]
    presets: tuple[Preset, ...]
    json: Markup


@dataclass(frozen=True)
class Alternative:
    """A token that could have come."""

    text: str
    probability: float
    chosen: bool

    @property
    def share(self) -> str:
        """Its probability in words."""
        return share(self.probability)


@dataclass(frozen=True)
class Step:
    """A token of a text, ready to be drawn."""

    id: int
    text: str
    probability: float
    rank: int
    margin: float
    near_tie: bool
    entropy: float
    kept: int
    alternatives: tuple[Alternative, ...]

    @property
    def share(self) -> str:
        """Its probability in words."""
        return share(self.probability)

    @property
    def level(self) -> int:
        """Its colour: 0 is likely, 4 is not."""
        return sum(self.probability < least for least in LEVELS)


@dataclass(frozen=True)
class Trace:
    """A text to follow token by token."""

    name: str
    """Of its place on the page, unique there."""
    claim: str
    """Id of the claim whose evidence it is."""
    check: str
    """Name of the check."""
    settings: tuple[tuple[str, str], ...]
    """What it was drawn with, by name; empty for greedy text."""
    prompt: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Vocabulary:
    """Every piece of a tokenizer: how many, and what a page's script reads."""

    size: int
    json: Markup


def explorer(record: Record) -> Explorer | None:
    """The distributions of a record, to be filtered on the page; None if it has none."""
    found = [
        kept
        for _, check in _checks(record)
        for value in _listed(check.values.get("distributions"))
        if (kept := _parsed(_DISTRIBUTION, value)) is not None and kept.is_whole()
    ]
    if not found:
        return None
    return Explorer(
        prompts=tuple(kept.prompt for kept in found),
        presets=tuple(
            Preset(key, sampling.temperature, LIBRARY_TOP_K, sampling.top_p or 1)
            for key, sampling in PRESETS.items()
        ),
        json=_block({"words": _words("explorer"), "prompts": [_compact(kept) for kept in found]}),
    )


def traces(record: Record) -> list[Trace]:
    """The traced texts of a record, greedy ones first."""
    found: list[Trace] = []
    for claim, check in _checks(record):
        trace = _parsed(_TRACE, check.values.get("trace"))
        if trace is not None:
            settings = _parsed(_SETTINGS, check.values.get("settings")) or {}
            found.append(
                Trace(
                    name=f"trace-{len(found) + 1}",
                    claim=claim.id,
                    check=check.name,
                    settings=tuple((name, f"{value:g}") for name, value in settings.items()),
                    prompt=trace.prompt,
                    steps=tuple(_step(step) for step in trace.steps),
                )
            )
    return sorted(found, key=lambda trace: bool(trace.settings))


def vocabulary(record: Record) -> Vocabulary | None:
    """The tokenizer's pieces, to be searched on the page; None if the record has none."""
    for _, check in _checks(record):
        table = check.values.get("table")
        if isinstance(table, str) and (size := _unpacked_size(table)):
            block = _block({"words": _words("vocabulary"), "table": table})
            return Vocabulary(size=size, json=block)
    return None


def without_handled(record: Record) -> Record:
    """The same record without the values shown here, so that none stands on the page twice.

    What is kept for comparisons alone is left out too.
    """
    claims = [
        claim.model_copy(
            update={
                "evidence": [
                    check.model_copy(
                        update={
                            "values": {
                                name: value
                                for name, value in check.values.items()
                                if not _is_handled(name, value)
                            }
                        }
                    )
                    for check in claim.evidence
                ]
            }
        )
        for claim in record.claims
    ]
    return record.model_copy(update={"claims": claims})


def _is_handled(name: str, value: JsonValue) -> bool:
    if name == "distributions":
        found = _listed(value)
        return bool(found) and all(_parsed(_DISTRIBUTION, each) is not None for each in found)
    if name == "trace":
        return _parsed(_TRACE, value) is not None
    if name in KEPT_TO_COMPARE:
        return True
    return name == "table" and isinstance(value, str) and _unpacked_size(value) > 0


def share(probability: float) -> str:
    """A probability as a reader takes it in.

    >>> share(1), share(0.98765), share(0.0123), share(0.00000123), share(0)
    ('100%', '98.8%', '1.23%', '0.00012%', '0%')
    """
    percent = probability * 100
    if percent == 0 or percent >= 99.95:
        return f"{percent:.0f}%"
    if percent < 0.0001:
        return "<0.0001%"
    digits = 3 if percent >= 0.1 else 2
    decimals = max(0, digits - 1 - _magnitude(percent))
    return f"{percent:.{decimals}f}%"


def _magnitude(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def _checks(record: Record) -> Iterator[tuple[ClaimRecord, Check]]:
    for claim in record.claims:
        for check in claim.evidence:
            yield claim, check


def _listed(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _parsed(kind: TypeAdapter[_Parsed], value: object) -> _Parsed | None:
    """A value of a known shape; None if it has another."""
    try:
        return kind.validate_python(value)
    except (ValidationError, OverflowError):  # an integer may be too large for any float
        return None


def _compact(kept: _Distribution) -> dict[str, object]:
    """A distribution with no number twice: a listed token's logit is the head's at its rank."""
    ids = [token.id for token in kept.top]
    rank = ids.index(kept.answer) if kept.answer in ids else None
    return {
        "prompt": kept.prompt,
        "answer": None if kept.answer is None else {"id": kept.answer, "rank": rank},
        "vocabulary": kept.vocabulary,
        "tokens": [[token.id, _clipped(token.text)] for token in kept.top],
        "head": kept.head,
        "step": kept.step,
        "tail": kept.tail,
    }


def _step(step: _Step) -> Step:
    alternatives = tuple(
        Alternative(_clipped(other.text), other.probability, chosen=rank == step.rank)
        for rank, other in enumerate(step.alternatives, start=1)
    )
    return Step(
        id=step.id,
        text=_clipped(step.text),
        probability=step.probability,
        rank=step.rank,
        margin=step.margin,
        near_tie=step.near_tie,
        entropy=max(0.0, step.entropy),  # rounding may leave it below
        kept=step.kept,
        alternatives=alternatives,
    )


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_TOKEN else text[:LONGEST_TOKEN] + "…"


def _unpacked_size(table: str) -> int:
    """How many pieces `probes.measure.tokenizer.packed` packed; 0 if it is nothing of that kind."""
    try:
        unpacking = zlib.decompressobj()
        raw = unpacking.decompress(base64.b64decode(table, validate=True), LARGEST_TABLE)
        pieces = _parsed(_PIECES, json.loads(raw)) if unpacking.eof else None
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        return 0
    return len(pieces or [])


def _words(part: str) -> dict[str, dict[str, str]]:
    """What the page's script says, by language."""
    prefix = f"interactive.{part}.script."
    return {
        language: {
            key.removeprefix(prefix): text
            for key, text in texts(language).items()
            if key.startswith(prefix)
        }
        for language in LANGUAGES
    }


def _block(value: object) -> Markup:
    r"""Data for a script element: JSON in ASCII that no text in it can end or open.

    >>> print(_block("</script><!--"))
    "\u003c/script\u003e\u003c!--"
    """
    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - what could be markup is escaped as JSON escapes it
