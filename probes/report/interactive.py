"""Interactive parts of a report: filter a distribution, follow a text, search a vocabulary.

They are made of evidence of the right shape, from any claim. Other evidence of the same names is
shown as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from markupsafe import Markup

from probes.report.locale import LANGUAGES, texts
from probes.report.visible import cut
from probes.schema.evidence import COMPARED_APART, read_shapes
from probes.schema.evidence.distributions import Distribution, Distributions
from probes.schema.evidence.shape import Shape
from probes.schema.evidence.texts import DraftedTexts, StoppedTexts, Trace, TracedText
from probes.schema.evidence.words import VocabularyTable
from probes.schema.record import Check, Record
from probes.schema.sampling import NARROW_HOT, NEAR_GREEDY, WIDE_HOT

_Shape = TypeVar("_Shape", bound="Shape")

PRESETS = {"near_greedy": NEAR_GREEDY, "narrow_hot": NARROW_HOT, "wide_hot": WIDE_HOT}
"""Settings that have a button, by the key of its text."""

DRAWN_WHOLE = (DraftedTexts, StoppedTexts)
"""Shapes of which a picture shows all: no table repeats it."""

LARGEST_VOCABULARY = 1_000_000
"""Tokens; with more, a page would be slow."""

LARGEST_TABLE = 32 * 1024 * 1024
"""Bytes of an unpacked vocabulary; a larger one is left out."""

LONGEST_TOKEN = 80
"""Characters; a longer token is cut."""

LEVELS = (0.9, 0.5, 0.2, 0.05)
"""Least probabilities of the colours 0, 1, 2, 3; a less likely token has colour 4."""


@dataclass(frozen=True)
class Explorer:
    """Distributions to filter: of which prompts, and what the page's script reads."""

    prompts: tuple[str, ...]
    json: Markup


@dataclass(frozen=True)
class TraceView:
    """A text to follow token by token."""

    name: str
    """The name of its place on the page."""
    settings: dict[str, float]
    """The sampling settings; empty for greedy text."""
    trace: Trace


@dataclass(frozen=True)
class Vocabulary:
    """Every piece of a tokenizer: how many, and what the page's script reads."""

    size: int
    json: Markup


def explorer(record: Record) -> Explorer | None:
    """Return the distributions of a record that can be filtered; None if it has none."""
    found = [each for shape in _find(record, Distributions) for each in shape.distributions]
    if not found:
        return None
    block = _block({"words": _words("explorer"), "prompts": [_compact(each) for each in found]})
    return Explorer(tuple(each.prompt for each in found), block)


def traces(record: Record) -> list[TraceView]:
    """Return the traced texts of a record, greedy ones first."""
    found = [
        TraceView(f"trace-{number}", getattr(text, "settings", {}), text.trace)
        for number, text in enumerate(_find(record, TracedText), start=1)
    ]
    return sorted(found, key=lambda trace: bool(trace.settings))


def vocabulary(record: Record) -> Vocabulary | None:
    """Return the tokenizer's pieces, which can be searched; None if the record has none."""
    for shape in _find(record, VocabularyTable):
        block = _block({"words": _words("vocabulary"), "table": shape.table})
        return Vocabulary(_size(shape), block)
    return None


def without_interactive(record: Record) -> Record:
    """Return the record without what is shown here, and without what only comparisons read."""
    claims = [
        claim.model_copy(
            update={"evidence": [_without_interactive(each) for each in claim.evidence]}
        )
        for claim in record.claims
    ]
    return record.model_copy(update={"claims": claims})


def _without_interactive(check: Check) -> Check:
    shown = {*COMPARED_APART}
    for shape in read_shapes(check.values):
        if _is_shown(shape):
            shown |= {"distributions", "trace", "table"} & shape.model_fields_set
        if isinstance(shape, DRAWN_WHOLE):
            shown |= type(shape).model_fields.keys()
    values = {name: value for name, value in check.values.items() if name not in shown}
    return check.model_copy(update={"values": values})


def _find(record: Record, kind: type[_Shape]) -> Iterator[_Shape]:
    """Yield the evidence of one shape that has an interactive part."""
    for claim in record.claims:
        for check in claim.evidence:
            for shape in read_shapes(check.values):
                if isinstance(shape, kind) and _is_shown(shape):
                    yield shape


def _is_shown(shape: Shape) -> bool:
    """Whether a shape has an interactive part, and is neither empty nor too large for it."""
    if isinstance(shape, Distributions):
        return bool(shape.distributions) and all(
            each.top and each.head and 2 <= each.vocabulary <= LARGEST_VOCABULARY
            for each in shape.distributions
        )
    if isinstance(shape, TracedText):
        return bool(shape.trace.steps)
    return isinstance(shape, VocabularyTable) and _size(shape) > 0


def _size(shape: VocabularyTable) -> int:
    """Return the number of pieces; 0 for a table that cannot be unpacked."""
    return _count_pieces(shape.table, LARGEST_TABLE)


@lru_cache(maxsize=1)
def _count_pieces(table: str, most_bytes: int) -> int:
    """Return the number of pieces; remembered, as a page asks for it several times."""
    try:
        return len(VocabularyTable(table=table).unpack(most_bytes))
    except ValueError:
        return 0


def level_of(probability: float) -> int:
    """Return the colour of a token: 0 is likely, 4 is not.

    >>> level_of(0.97), level_of(0.3), level_of(0.02)
    (0, 2, 4)
    """
    return sum(probability < least for least in LEVELS)


def format_share(probability: float) -> str:
    """Return a probability as text, with three digits.

    >>> format_share(1), format_share(0.0123), format_share(0.00000123), format_share(0)
    ('100%', '1.23%', '0.00012%', '0%')
    """
    percent = probability * 100
    if percent == 0 or percent >= 99.95:
        return f"{percent:.0f}%"
    if percent < 0.0001:
        return "<0.0001%"
    digits = 3 if percent >= 0.1 else 2
    magnitude = int(f"{percent:e}".partition("e")[2])
    return f"{percent:.{max(0, digits - 1 - magnitude)}f}%"


def _compact(found: Distribution) -> dict[str, object]:
    """Return a distribution without repeated numbers: a token's logit is the head's at its rank."""
    ids = [token.id for token in found.top]
    rank = ids.index(found.answer) if found.answer in ids else None
    return {
        "prompt": found.prompt,
        "answer": None if found.answer is None else {"id": found.answer, "rank": rank},
        "vocabulary": found.vocabulary,
        "tokens": [[token.id, cut(token.text, LONGEST_TOKEN)] for token in found.top],
        "head": found.head,
        "step": found.step,
        "tail": found.tail,
    }


def _words(part: str) -> dict[str, dict[str, str]]:
    """Return the texts of the page's script, by language."""
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
    r"""Return data for a script element: ASCII JSON that no text in it can end or open.

    >>> print(_block("</script><!--"))
    "\u003c/script\u003e\u003c!--"
    """
    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - what could be markup is escaped as JSON escapes it
