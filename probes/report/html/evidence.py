"""Display a value of evidence that has no picture: as a number, a text, a row, a table or JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from probes.schema.record import BROKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from probes.schema.record import Check, ClaimRecord

LONG_TEXT = 160
"""Characters; a longer text is folded."""

LONG_LIST = 60
"""Items; a longer list or table is folded."""

LARGE_NUMBER = 1_000_000
"""The first number with grouped digits; smaller ones may be token ids, which are names."""

LARGEST_TABLE = 1000
"""Rows; a longer table is displayed as JSON, so that the page stays quick."""

MOST_SHORT_VALUES = 5
"""Values in a line."""

Kind = Literal["number", "constant", "word", "key", "text", "list", "table", "json"]


@dataclass(frozen=True)
class DisplayValue:
    """One value, as the templates draw it."""

    kind: Kind
    text: str = ""
    """The value, unless it is a list or table; of a constant `yes`, `no` or `none`."""
    exact: str = ""
    """All digits of a number that is shortened."""
    items: tuple[DisplayValue, ...] = ()
    header: tuple[str, ...] = ()
    """The names of a table's columns, if they have any."""
    rows: tuple[tuple[DisplayValue, ...], ...] = ()
    size: tuple[int, str] | None = None
    """How much is folded, a number and a noun; None for what is short enough to be open."""


@dataclass(frozen=True)
class CheckTable:
    """Checks with evidence of the same names and short values: a check a row."""

    header: tuple[str, ...]
    rows: tuple[tuple[Check, tuple[DisplayValue, ...]], ...]


def show(value: JsonValue) -> DisplayValue:
    """Return how to display a value.

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


def tabulate(checks: Sequence[Check]) -> CheckTable | None:
    """Return several checks as one table; None if their evidence differs or is long."""
    if len(checks) < 2 or len({tuple(check.values) for check in checks}) != 1:
        return None
    rows = tuple((check, tuple(show(value) for value in check.values.values())) for check in checks)
    if any(not _is_short(cell) for _, cells in rows for cell in cells):
        return None
    return CheckTable(header=tuple(checks[0].values), rows=rows)


def list_short_values(claim: ClaimRecord) -> tuple[tuple[str, DisplayValue], ...]:
    """Return the short values of a claim's first broken check, for one line.

    >>> from probes.schema.record import Check, ClaimRecord, Verdict
    >>> wrong = Check(name="a", verdict=Verdict.FAILS, values={"new_tokens": 14, "table": [[1]]})
    >>> [name for name, _ in list_short_values(ClaimRecord(
    ...     id="a", section="A", title="A.", status="ours", evidence=(wrong,)))]
    ['new_tokens']
    """
    broken = (check for check in claim.evidence if check.verdict in BROKEN)
    values = next((check.values for check in broken), {})
    shown = ((name, show(value)) for name, value in values.items())
    short = [(name, value) for name, value in shown if _is_short(value) and _fits(value)]
    return tuple(short[:MOST_SHORT_VALUES])


def repeats_claim(claim: ClaimRecord) -> bool:
    """Whether the checks say only what their claim says."""
    return all(not check.values and check.reason == claim.reason for check in claim.evidence)


def _text(text: str) -> DisplayValue:
    if len(text) > LONG_TEXT or text.count("\n") > 3:
        return DisplayValue("text", text, size=(len(text), "character"))
    return DisplayValue("word", text)


def _scalar(value: JsonValue) -> DisplayValue:
    if isinstance(value, bool) or value is None:
        return DisplayValue("constant", {True: "yes", False: "no", None: "none"}[value])
    if isinstance(value, float):
        short, exact = f"{value:.6g}", repr(value)
        return DisplayValue("number", short, exact=exact if exact != short else "")
    grouped = isinstance(value, int) and abs(value) >= LARGE_NUMBER
    return DisplayValue("number", f"{value:,}" if grouped else str(value))


def _mapping(value: dict[str, JsonValue]) -> DisplayValue:
    """Return a table of keys and values, or of rows if the values are dicts."""
    inner = list(value.values())
    rows = [item for item in inner if isinstance(item, dict)]
    if inner and len(rows) == len(inner):
        return _table(rows, value, names=list(value))
    if _all_scalar(inner) or len(inner) <= LONG_LIST:
        rows_of_two = tuple((DisplayValue("key", key), show(item)) for key, item in value.items())
        return DisplayValue("table", rows=rows_of_two, size=_folded(len(inner), "entry"))
    return _json(value)


def _sequence(value: list[JsonValue]) -> DisplayValue:
    if not value or _all_scalar(value):
        return _list(value)
    rows = [item for item in value if isinstance(item, dict)]
    if len(rows) == len(value):
        return _table(rows, value)
    if all(isinstance(item, list) and _all_scalar(item) for item in value):
        return _grid([item for item in value if isinstance(item, list)], value)
    return _json(value)


def _list(value: list[JsonValue]) -> DisplayValue:
    if len(value) > LARGEST_TABLE:
        return _json(value)
    return DisplayValue(
        "list", items=tuple(show(item) for item in value), size=_folded(len(value), "item")
    )


def _table(
    rows: list[dict[str, JsonValue]], whole: JsonValue, names: Sequence[str] = ()
) -> DisplayValue:
    """Return dicts as rows, named or not, with a column for each key."""
    header = tuple(dict.fromkeys(key for row in rows for key in row))
    if len(rows) > LARGEST_TABLE or len(header) > LONG_LIST:
        return _json(whole)
    empty = DisplayValue("word")
    cells = [tuple(show(row[key]) if key in row else empty for key in header) for row in rows]
    if names:
        header = ("", *header)
        cells = [(DisplayValue("key", name), *row) for name, row in zip(names, cells, strict=True)]
    return DisplayValue("table", header=header, rows=tuple(cells), size=_folded(len(rows), "row"))


def _grid(rows: list[list[JsonValue]], whole: JsonValue) -> DisplayValue:
    """Return lists as rows, the short ones filled up."""
    if len(rows) > LARGEST_TABLE or any(len(row) > LONG_LIST for row in rows):
        return _json(whole)
    width = max(len(row) for row in rows)
    empty = DisplayValue("word")
    cells = tuple(tuple(show(item) for item in row) + (empty,) * (width - len(row)) for row in rows)
    return DisplayValue("table", rows=cells, size=_folded(len(rows), "row"))


def _json(value: JsonValue) -> DisplayValue:
    """Return JSON, a member a line."""
    dump = partial(json.dumps, ensure_ascii=False)
    if isinstance(value, list):
        text = "[\n" + ",\n".join(f"  {dump(item)}" for item in value) + "\n]"
    elif isinstance(value, dict):
        members = (f"  {dump(key)}: {dump(item)}" for key, item in value.items())
        text = "{\n" + ",\n".join(members) + "\n}"
    else:
        text = dump(value)
    return DisplayValue("json", text, size=(len(text), "character"))


def _all_scalar(items: Sequence[JsonValue]) -> bool:
    return all(
        not isinstance(item, (list, dict))
        and not (isinstance(item, str) and _text(item).kind == "text")
        for item in items
    )


def _is_short(shown: DisplayValue) -> bool:
    return shown.kind in ("number", "constant", "word") or (
        shown.kind == "list" and len(shown.items) <= 24
    )


def _fits(shown: DisplayValue) -> bool:
    """Whether other values fit beside a short one in a line."""
    return len(shown.text) <= 80 and len(shown.items) <= 12


def _folded(number: int, noun: str) -> tuple[int, str] | None:
    """Return the size of what is too long to be open."""
    return (number, noun) if number > LONG_LIST else None
