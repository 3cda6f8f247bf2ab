"""Charts about answers and stories at several settings, and about what 4 bits save."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from probes.report.pictures import charts
from probes.report.pictures.charts import Chart, Row, data, dots, word
from probes.report.pictures.labels import check_size, percent
from probes.report.text.phrases import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probes.schema.evidence.texts import AnswerBounds, TaskSettings, WeightMemory

WHOLE = alt.Scale(domain=[0, 1], nice=False)
SHARES = [0, 0.25, 0.5, 0.75, 1]
MOST = 100
"""Settings of a chart."""


def answers(found: Sequence[tuple[str, AnswerBounds]]) -> Chart:
    """Draw the share of right answers against the temperature, a band a top_p."""
    rows = [
        {
            "temperature": temperature,
            "least": least,
            "most": most,
            "series": number,
            "colour": charts.choose_colour(number),
            "tip": f"{name}, T {temperature:g}: {_between(least, most)}",
        }
        for number, (name, bounds) in enumerate(found)
        for temperature, least, most in zip(
            bounds.temperatures, bounds.at_least, bounds.at_most, strict=True
        )
    ]
    check_size(rows, 2, 4 * MOST)
    temperature = _temperature(t for _, bounds in found for t in bounds.temperatures)
    base = alt.Chart(data(rows)).encode(
        x=temperature, color=charts.COLOUR, detail=alt.Detail("series:N")
    )
    axis = alt.Axis(values=SHARES, format="~%")
    least = alt.Y("least:Q", title=word("right"), scale=WHOLE, axis=axis)
    return alt.layer(
        base.mark_area(opacity=0.25).encode(y=least, y2=alt.Y2("most:Q")),
        base.mark_line(strokeWidth=2).encode(y=least),
        base.mark_line(strokeWidth=2).encode(y=alt.Y("most:Q", scale=WHOLE)),
        dots(base).encode(y=least),
        *charts.key([name for name, _ in found], 110, 158),
        width=370,
        height=210,
    )


def settings(found: TaskSettings) -> Chart:
    """Draw right answers and variety over one grid: a panel a top_p, the temperature across."""
    check_size(found.settings, 2, MOST)
    temperature = _temperature(each.temperature for each in found.settings)
    panels = []
    for number, top_p in enumerate(dict.fromkeys(each.top_p for each in found.settings)):
        rows = [
            {
                "temperature": each.temperature,
                "least": each.right_least,
                "most": each.right_most,
                "distinct": each.distinct_4_grams,
                "right_tip": f"T {each.temperature:g}: "
                + _between(each.right_least, each.right_most),
                "tip": f"T {each.temperature:g}: {percent(each.distinct_4_grams)}",
            }
            for each in found.settings
            if each.top_p == top_p
        ]
        base = alt.Chart(data(rows)).encode(x=temperature)
        axis = alt.Axis(values=SHARES, format="~%", labels=number == 0)
        least, distinct = (
            alt.Y(f"{field}:Q", title=None, scale=WHOLE, axis=axis)
            for field in ("least", "distinct")
        )
        panels.append(
            alt.layer(
                base.mark_area(opacity=0.25, color=charts.MAIN).encode(
                    y=least, y2=alt.Y2("most:Q")
                ),
                base.mark_line(strokeWidth=2, color=charts.MAIN).encode(y=least),
                base.mark_line(strokeWidth=2, color=charts.OTHER).encode(y=distinct),
                dots(base, 40, color=charts.MAIN).encode(
                    y=least, description=alt.Description("right_tip:N")
                ),
                dots(base, 40, color=charts.OTHER).encode(y=distinct),
                *(charts.key([word("right"), word("distinct")], 120, 182) if number == 0 else []),
                charts.heading(f"top_p {top_p:g}"),
                width=124,
                height=180,
            )
        )
    return alt.hconcat(*panels, spacing=16)


def memory(found: WeightMemory) -> Chart:
    """Draw the bytes of the linear layers and of the rest, in 16 bits and in 4."""
    sixteen = 2 * found.linear_parameters
    rows: list[Row] = []
    sums: list[Row] = []
    for name, linear, other in (
        ("fp16", sixteen, max(found.fp16_bytes - sixteen, 0)),
        ("NF4", found.linear_bytes, found.total_bytes - found.linear_bytes),
    ):
        both = linear + other
        for first, last, colour in ((0, other, charts.QUIET), (other, both, charts.MAIN)):
            row = {"name": name, "start": first, "end": last, "colour": colour}
            rows.append({**row, "tip": f"{name}: {format_bytes(last - first)}"})
        sums.append({"name": name, "end": both, "shown": format_bytes(both)})
    scale = alt.Scale(domain=[0, max(row["end"] for row in sums)], range=[0, 290])
    y = alt.Y("name:O", title=None, sort=None, axis=alt.Axis(labelColor="var(--ink)"))
    start, end = (alt.X(f"{field}:Q", axis=None, scale=scale) for field in ("start", "end"))
    parts = (
        alt.Chart(data(rows))
        .mark_bar(height={"band": 0.72}, aria=True)
        .encode(y=y, x=start, x2=alt.X2("end:Q"), color=charts.COLOUR, description=charts.TIP)
    )
    text = (
        alt.Chart(data(sums))
        .mark_text(align="left", dx=5)
        .encode(y=y, x=end, text=alt.Text("shown:N"))
    )
    return alt.layer(parts, text, width=370, height=alt.Step(34))


def _temperature(values: Iterable[float]) -> alt.X:
    return alt.X(
        "temperature:Q",
        title=word("temperature"),
        scale=alt.Scale(zero=False, nice=False, padding=4),
        axis=alt.Axis(values=sorted(set(values))),
    )


def _between(least: float, most: float) -> str:
    """Return a share that is known exactly, or its bounds."""
    if percent(least) == percent(most):
        return percent(least)
    return f"{percent(least)} – {percent(most)}"
