"""Pictures of how fast a target was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from probes.report.pictures.charts import SERIES, TIP, Chart, Row, data, word

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from probes.schema.record import Rate

WIDTH, HEIGHT = 260, 200

LINES = ("dynamic", "static", "compiled", "limit")
"""What is drawn: rates by cache, and the limit."""


def by_batch(measured: Sequence[Rate]) -> Chart:
    """Tokens a second against the batch, with the limit: a panel for prompts, one for new tokens.

    Args:
        measured: rates of `prefill` and `decode` that have a value; one at least.
    """
    panels = [
        _panel(what, [rate for rate in measured if rate.what == what])
        for what in ("prefill", "decode")
        if any(rate.what == what for rate in measured)
    ]
    known = {_line(rate) for rate in measured}
    known |= {"limit" for rate in measured if rate.limit is not None}
    return alt.hconcat(*panels, _key(known), spacing=24)


def _line(rate: Rate) -> str:
    return "compiled" if rate.compiled else rate.cache


def _panel(what: str, rates: Sequence[Rate]) -> alt.LayerChart:
    rows = [_row(rate.batch, _line(rate), rate.per_second or 0.0) for rate in rates]
    limits = {rate.batch: rate.limit for rate in rates if rate.limit is not None}
    rows += [_row(batch, "limit", limit) for batch, limit in limits.items()]
    batches = sorted({rate.batch for rate in rates})
    x = alt.X(
        "batch:Q",
        title=word("batch"),
        scale=alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(values=batches, format="d"),
    )
    y = alt.Y(
        "rate:Q",
        title=word(f"{what}_rate"),
        scale=alt.Scale(type="log"),
        axis=alt.Axis(tickCount=4, format=",~r"),
    )
    base = alt.Chart(data(rows)).encode(x=x, y=y, color=alt.Color("colour:N", scale=None))
    known = {row["line"] for row in rows}
    lines = [
        base.transform_filter(alt.datum.line == name).mark_line(
            strokeWidth=2, **({"strokeDash": [5, 4]} if name == "limit" else {})
        )
        for name in LINES
        if name in known
    ]
    points = base.mark_point(filled=True, size=45, opacity=1, aria=True).encode(description=TIP)
    return alt.LayerChart(layer=[*lines, points], width=WIDTH, height=HEIGHT)


def _key(known: Collection[str]) -> alt.LayerChart:
    """The names of the lines that are drawn, beside the panels: within, they would lie on lines."""
    names = [name for name in LINES if name in known]
    layers = [
        alt.Chart(data([{}])).mark_text(
            align="left",
            baseline="middle",
            fontWeight=600,
            color=_colour(name),
            x=0,
            y=10 + 17 * place,
            text=word(f"{name}_line"),
        )
        for place, name in enumerate(names)
    ]
    return alt.LayerChart(layer=layers, width=110, height=HEIGHT)


def _colour(line: str) -> str:
    return SERIES[LINES.index(line)]


def _row(batch: int, line: str, rate: float) -> Row:
    return {
        "batch": batch,
        "rate": rate,
        "line": line,
        "colour": _colour(line),
        "tip": f"{batch}, {line}: {rate:,.0f}",
    }
