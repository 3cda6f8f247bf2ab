"""The chart of a target's throughput."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from probes.report.pictures.charts import COLOUR, SERIES, Chart, Row, data, dots, word, write

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from probes.schema.record import Rate

WIDTH, HEIGHT = 260, 200

LINES = dict(zip(("dynamic", "static", "compiled", "limit"), SERIES, strict=False))
"""What is drawn, in its colour: rates by cache, and the limit."""


def by_batch(measured: Sequence[Rate]) -> Chart:
    """Draw tokens a second against the batch, with the limit: a panel each for prefill and decode.

    `measured` has at least one rate; each is of prefill or decode and has a value.
    """
    panels = [
        _panel(what, [rate for rate in measured if rate.what == what])
        for what in ("prefill", "decode")
        if any(rate.what == what for rate in measured)
    ]
    drawn = {_line(rate) for rate in measured}
    drawn |= {"limit" for rate in measured if rate.limit is not None}
    return alt.hconcat(*panels, _key(drawn), spacing=24)


def _line(rate: Rate) -> str:
    return "compiled" if rate.compiled else rate.cache


def _panel(what: str, rates: Sequence[Rate]) -> alt.LayerChart:
    rows = [_row(rate.batch, _line(rate), rate.per_second or 0.0) for rate in rates]
    limits = {rate.batch: rate.limit for rate in rates if rate.limit is not None}
    rows += [_row(batch, "limit", limit) for batch, limit in limits.items()]
    x = alt.X(
        "batch:Q",
        title=word("batch"),
        scale=alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(values=sorted({rate.batch for rate in rates}), format="d"),
    )
    y = alt.Y(
        "rate:Q",
        title=word(f"{what}_rate"),
        scale=alt.Scale(type="log"),
        axis=alt.Axis(tickCount=4, format=",~r"),
    )
    base = alt.Chart(data(rows)).encode(x=x, y=y, color=COLOUR)
    drawn = {row["line"] for row in rows}
    lines = [
        base.transform_filter(alt.datum.line == name).mark_line(
            strokeWidth=2, **({"strokeDash": [5, 4]} if name == "limit" else {})
        )
        for name in LINES
        if name in drawn
    ]
    return alt.LayerChart(layer=[*lines, dots(base)], width=WIDTH, height=HEIGHT)


def _key(drawn: Collection[str]) -> alt.LayerChart:
    """Return the names of the lines, beside the panels: inside, they would lie on lines."""
    style = {"align": "left", "baseline": "middle", "fontWeight": 600}
    names = [name for name in LINES if name in drawn]
    layers = [
        write(word(f"{name}_line"), 0, 10 + 17 * place, color=LINES[name], **style)
        for place, name in enumerate(names)
    ]
    return alt.LayerChart(layer=layers, width=110, height=HEIGHT)


def _row(batch: int, line: str, rate: float) -> Row:
    tip = f"{batch}, {line}: {rate:,.0f}"
    return {"batch": batch, "rate": rate, "line": line, "colour": LINES[line], "tip": tip}
