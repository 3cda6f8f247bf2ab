"""Display a value of evidence that has no picture: as a number, a text, a row, a table or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pydantic import JsonValue

from probes.schema.record import BROKEN, Check, ClaimRecord

LONG_TEXT = 160
"""Characters; a longer text is folded."""

LONG_LIST = 60
"""Items; a longer list or table is folded."""

LARGE_NUMBER = 1_000_000
"""The first number with grouped digits; smaller ones may be token ids, which are names."""

LARGEST_TABLE = 1000
"""Items; more are displayed as JSON, so that the page stays quick."""

MOST_SHORT_VALUES = 5
"""Values in a line."""


@dataclass(frozen=True)
class DisplayValue:
    """One value, as the templates draw it."""

    kind: Literal["number", "constant", "word", "key", "text", "list", "table", "json"]
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
        is_long = len(value) > LONG_TEXT or value.count("\n") > 3
        return _long("text", value) if is_long else DisplayValue("word", value)
    if isinstance(value, (dict, list)):
        return _show_items(value)
    if isinstance(value, bool) or value is None:
        return DisplayValue("constant", {True: "yes", False: "no", None: "none"}[value])
    if isinstance(value, float):
        short, exact = f"{value:.6g}", repr(value)
        return DisplayValue("number", short, exact=exact if exact != short else "")
    return DisplayValue("number", f"{value:,}" if abs(value) >= LARGE_NUMBER else str(value))


def tabulate(checks: Sequence[Check]) -> CheckTable | None:
    """Return several checks as one table; None if their evidence differs or is long."""
    if len(checks) < 2 or len({tuple(check.values) for check in checks}) != 1:
        return None
    rows = tuple((check, tuple(map(show, check.values.values()))) for check in checks)
    if not all(_is_short(cell) for _, cells in rows for cell in cells):
        return None
    return CheckTable(header=tuple(checks[0].values), rows=rows)


def list_short_values(claim: ClaimRecord) -> tuple[tuple[str, DisplayValue], ...]:
    """Return the short values of a claim's first broken check, for one line."""
    broken = (check for check in claim.evidence if check.verdict in BROKEN)
    values = next((check.values for check in broken), {})
    shown = ((name, show(value)) for name, value in values.items())
    fitting = [
        (name, value)
        for name, value in shown
        if _is_short(value) and len(value.text) <= 80 and len(value.items) <= 12
    ]
    return tuple(fitting[:MOST_SHORT_VALUES])


def repeats_claim(claim: ClaimRecord) -> bool:
    """Whether the checks say only what their claim says."""
    return all(not check.values and check.reason == claim.reason for check in claim.evidence)


def _show_items(value: dict[str, JsonValue] | list[JsonValue]) -> DisplayValue:
    """Return a list of scalars, or a table: of keys and values, or of dicts or lists as rows."""
    items = list(value.values()) if isinstance(value, dict) else value
    if len(items) > LARGEST_TABLE:
        return _json(value)
    names = [(DisplayValue("key", key),) for key in value] if isinstance(value, dict) else []
    is_flat = all(map(_is_scalar, items))
    if is_flat and isinstance(value, list):
        return DisplayValue("list", items=tuple(map(show, items)), size=_fold(len(items), "item"))
    dicts = [item for item in items if isinstance(item, dict)]
    if items and len(dicts) == len(items):
        header = tuple(dict.fromkeys(key for row in dicts for key in row))
        empty = DisplayValue("word")
        rows = [tuple(show(row[key]) if key in row else empty for key in header) for row in dicts]
        return _table(rows, names, header) if len(header) <= LONG_LIST else _json(value)
    if isinstance(value, dict):
        rows = [(show(item),) for item in items]
        is_table = is_flat or len(items) <= LONG_LIST
        return _table(rows, names, noun="entry") if is_table else _json(value)
    lists = [item for item in value if isinstance(item, list) and all(map(_is_scalar, item))]
    if len(lists) == len(value) and max(map(len, lists)) <= LONG_LIST:
        return _table([tuple(map(show, item)) for item in lists])
    return _json(value)


def _table(
    rows: Sequence[tuple[DisplayValue, ...]],
    names: Sequence[tuple[DisplayValue, ...]] = (),
    header: tuple[str, ...] = (),
    noun: str = "row",
) -> DisplayValue:
    """Return rows, named or not, the short ones filled up."""
    width = max(map(len, rows), default=0)
    empty = (DisplayValue("word"),)
    cells = [row + empty * (width - len(row)) for row in rows]
    if names:
        header = ("", *header) if header else ()
        cells = [name + row for name, row in zip(names, cells, strict=True)]
    return DisplayValue("table", header=header, rows=tuple(cells), size=_fold(len(rows), noun))


def _json(value: dict[str, JsonValue] | list[JsonValue]) -> DisplayValue:
    """Return JSON, a member a line."""
    dump = partial(json.dumps, ensure_ascii=False)
    if isinstance(value, list):
        opening, members, closing = "[", [dump(item) for item in value], "]"
    else:
        members = [f"{dump(key)}: {dump(item)}" for key, item in value.items()]
        opening, closing = "{", "}"
    return _long("json", "\n".join([opening, ",\n".join(f"  {m}" for m in members), closing]))


def _long(kind: Literal["text", "json"], text: str) -> DisplayValue:
    return DisplayValue(kind, text, size=(len(text), "character"))


def _is_scalar(item: JsonValue) -> bool:
    return not isinstance(item, (list, dict)) and show(item).kind != "text"


def _is_short(shown: DisplayValue) -> bool:
    is_short_list = shown.kind == "list" and len(shown.items) <= 24
    return shown.kind in ("number", "constant", "word") or is_short_list


def _fold(number: int, noun: str) -> tuple[int, str] | None:
    """Return the size of what is too long to be open."""
    return (number, noun) if number > LONG_LIST else None
