"""How a value is shown: decided here from its shape, drawn by the templates.

A number, a word, a long text, a row of pieces, a table, or, where nothing else fits, JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from probes.schema.record import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from probes.schema.record import Check, ClaimRecord

LONG_TEXT = 160
"""Characters; a longer text is folded."""

LONG_LIST = 60
"""Items; a longer list or table is folded."""

LARGE_NUMBER = 1_000_000
"""From here on digits are grouped; below lie token ids, which are names more than numbers."""

LARGEST_TABLE = 1000
"""Rows; a longer table is shown as JSON, a line a row, so that the page stays quick."""

MOST_AT_A_GLANCE = 5
"""Values in a line."""

BROKEN = (Verdict.FAILS, Verdict.ERROR)
"""Verdicts that stand at the top of the page, with their evidence open."""

Kind = Literal["number", "constant", "word", "key", "text", "list", "table", "json"]


@dataclass(frozen=True)
class Shown:
    """One value, ready to be drawn."""

    kind: Kind
    text: str = ""
    """The value, for all but lists and tables; of a constant its name: `yes`, `no` or `none`."""
    exact: str = ""
    """Of a number shown shorter: all its digits."""
    items: tuple[Shown, ...] = ()
    """Of a list: its members."""
    header: tuple[str, ...] = ()
    """Of a table: its columns' names, if they have any."""
    rows: tuple[tuple[Shown, ...], ...] = ()
    """Of a table: its cells."""
    size: tuple[int, str] | None = None
    """How much is folded: a number and what of; None for what is short enough to stand open."""


@dataclass(frozen=True)
class Matrix:
    """Checks with evidence of the same names and short values: one table, a check a row."""

    header: tuple[str, ...]
    rows: tuple[tuple[Check, tuple[Shown, ...]], ...]


def show(value: JsonValue) -> Shown:
    """How to show a value.

    >>> show(0.30000000000000004).text, show(["<s>", "▁The"]).kind, show([{"id": 1}]).header
    ('0.3', 'list', ('id',))
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return _mapping(value)
    if isinstance(value, list):
        return _sequence(value)
    return _scalar(value)


def matrix(checks: Sequence[Check]) -> Matrix | None:
    """Several checks as one table, if they are alike and their values short; else None."""
    if len(checks) < 2 or len({tuple(check.values) for check in checks}) != 1:
        return None
    rows = tuple((check, tuple(show(value) for value in check.values.values())) for check in checks)
    if any(not _is_short(cell) for _, cells in rows for cell in cells):
        return None
    return Matrix(header=tuple(checks[0].values), rows=rows)


def glance(claim: ClaimRecord) -> tuple[tuple[str, Shown], ...]:
    """What a broken claim rests on, in one line: the short values of its first broken check.

    >>> from probes.schema.record import Check, ClaimRecord, Verdict
    >>> wrong = Check(name="a", verdict=Verdict.FAILS, values={"new_tokens": 14, "table": [[1]]})
    >>> [name for name, _ in glance(ClaimRecord(
    ...     id="a", section="A", title="A.", status="ours", evidence=(wrong,)))]
    ['new_tokens']
    """
    broken = (check for check in claim.evidence if check.verdict in BROKEN)
    values = next((check.values for check in broken), {})
    shown = ((name, show(value)) for name, value in values.items())
    short = [(name, value) for name, value in shown if _is_short(value) and _fits(value)]
    return tuple(short[:MOST_AT_A_GLANCE])


def is_told(claim: ClaimRecord) -> bool:
    """Whether a claim's checks say nothing that the claim does not say itself."""
    return all(not check.values and check.reason == claim.reason for check in claim.evidence)


def _text(text: str) -> Shown:
    if len(text) > LONG_TEXT or text.count("\n") > 3:
        return Shown("text", text, size=(len(text), "character"))
    return Shown("word", text)


def _scalar(value: JsonValue) -> Shown:
    if isinstance(value, bool) or value is None:
        return Shown("constant", {True: "yes", False: "no", None: "none"}[value])
    if isinstance(value, float):
        short, exact = f"{value:.6g}", repr(value)
        return Shown("number", short, exact=exact if exact != short else "")
    grouped = isinstance(value, int) and abs(value) >= LARGE_NUMBER
    return Shown("number", f"{value:,}" if grouped else str(value))


def _mapping(value: dict[str, JsonValue]) -> Shown:
    """A dict as a table: of its keys and values, or of rows if its values are dicts."""
    inner = list(value.values())
    rows = [item for item in inner if isinstance(item, dict)]
    if inner and len(rows) == len(inner):
        return _table(rows, value, names=list(value))
    if _all_scalar(inner) or len(inner) <= LONG_LIST:
        rows_of_two = tuple((Shown("key", key), show(item)) for key, item in value.items())
        return Shown("table", rows=rows_of_two, size=_folded(len(inner), "entry"))
    return _json(value)


def _sequence(value: list[JsonValue]) -> Shown:
    if not value or _all_scalar(value):
        return _list(value)
    rows = [item for item in value if isinstance(item, dict)]
    if len(rows) == len(value):
        return _table(rows, value)
    if all(isinstance(item, list) and _all_scalar(item) for item in value):
        return _grid([item for item in value if isinstance(item, list)], value)
    return _json(value)


def _list(value: list[JsonValue]) -> Shown:
    if len(value) > LARGEST_TABLE:
        return _json(value)
    return Shown(
        "list", items=tuple(show(item) for item in value), size=_folded(len(value), "item")
    )


def _table(rows: list[dict[str, JsonValue]], whole: JsonValue, names: Sequence[str] = ()) -> Shown:
    """Dicts as rows, named or not; the columns are all their keys, in the order they are met."""
    header = tuple(dict.fromkeys(key for row in rows for key in row))
    if len(rows) > LARGEST_TABLE or len(header) > LONG_LIST:
        return _json(whole)
    empty = Shown("word")
    cells = [tuple(show(row[key]) if key in row else empty for key in header) for row in rows]
    if names:
        header = ("", *header)
        cells = [(Shown("key", name), *row) for name, row in zip(names, cells, strict=True)]
    return Shown("table", header=header, rows=tuple(cells), size=_folded(len(rows), "row"))


def _grid(rows: list[list[JsonValue]], whole: JsonValue) -> Shown:
    """Lists as rows. Rows of unequal length are shown one below the other, as they are."""
    if len(rows) > LARGEST_TABLE or any(len(row) > LONG_LIST for row in rows):
        return _json(whole)
    width = max(len(row) for row in rows)
    empty = Shown("word")
    cells = tuple(tuple(show(item) for item in row) + (empty,) * (width - len(row)) for row in rows)
    return Shown("table", rows=cells, size=_folded(len(rows), "row"))


def _json(value: JsonValue) -> Shown:
    """What has no simpler shape: JSON, a member a line."""
    text = _lines(value)
    return Shown("json", text, size=(len(text), "character"))


def _lines(value: JsonValue) -> str:
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"  {_compact(item)}" for item in value) + "\n]"
    if isinstance(value, dict):
        members = (f"  {_compact(key)}: {_compact(item)}" for key, item in value.items())
        return "{\n" + ",\n".join(members) + "\n}"
    return _compact(value)


def _compact(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)


def _all_scalar(items: Sequence[JsonValue]) -> bool:
    return all(
        not isinstance(item, (list, dict))
        and not (isinstance(item, str) and _text(item).kind == "text")
        for item in items
    )


def _is_short(shown: Shown) -> bool:
    return shown.kind in ("number", "constant", "word") or (
        shown.kind == "list" and len(shown.items) <= 24
    )


def _fits(shown: Shown) -> bool:
    """Whether a short value leaves room for others in a line."""
    return len(shown.text) <= 80 and len(shown.items) <= 12


def _folded(number: int, noun: str) -> tuple[int, str] | None:
    """The size of what is too long to stand open."""
    return (number, noun) if number > LONG_LIST else None
