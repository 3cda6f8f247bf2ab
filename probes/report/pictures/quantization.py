"""Charts of quality against bytes: quantizations of one model, or of several."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import altair as alt

from probes.report.pictures import charts
from probes.report.pictures.charts import Chart, Row, data, dots, word
from probes.report.pictures.labels import check_size, label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from probes.report.pictures.targets import Found
    from probes.schema.evidence.quantization import QuantizationCosts

WIDTH, HEIGHT = 420, 240

MOST_POINTS = 60

LEAST = 1e-9
"""Nats: what is closer has no place on a logarithmic scale."""


class Point(NamedTuple):
    """One quantization."""

    name: str
    colour: str
    megabytes: float
    value: float
    low: float
    high: float


def quality(found: Iterable[QuantizationCosts]) -> Chart:
    """Draw the quantizations of one model, each with its name."""
    layers = _layers([*_list_points(found, charts.MAIN)])
    return alt.LayerChart(layer=layers, width=WIDTH, height=HEIGHT)


def quality_by_target(found: Found, colours: Mapping[str, str]) -> Chart:
    """Draw the quantizations of several models, each model in its colour."""
    points = [
        point
        for target, by_test in found.items()
        for point in _list_points(by_test.values(), colours[target])
    ]
    shown = [colours[target] for target in found]
    names = charts.key([label(target) for target in found], WIDTH, HEIGHT, shown)
    return alt.LayerChart(layer=[*_layers(points), *names], width=WIDTH, height=HEIGHT)


def _list_points(found: Iterable[QuantizationCosts], colour: str) -> Iterable[Point]:
    for costs in found:
        for cost in costs.quantization_costs:
            mean = cost.mean_divergence
            if mean is not None and cost.bytes:
                ends = (max(LEAST, each) for each in (mean.value, mean.low, mean.high))
                yield Point(cost.kind, colour, cost.bytes / 1e6, *ends)


def _layers(points: list[Point]) -> list[alt.Chart]:
    check_size(points, 1, MOST_POINTS)
    low = math.floor(math.log10(min(max(p.low, p.value / 30) for p in points)))
    high = math.ceil(math.log10(max(point.high for point in points)))
    bottom, top = 10.0**low, 10.0 ** max(high, low + 1)
    rows: list[Row] = [
        {
            **point._asdict(),
            "low": max(point.low, bottom),
            "name": label(point.name),
            "tip": f"{label(point.name)}: {point.megabytes:,.1f} MB, {point.value:.3g} "
            f"({point.low:.3g} … {point.high:.3g})",
        }
        for point in points
    ]
    scale = alt.Scale(type="log", domain=[bottom, top], nice=False)
    powers = [10.0**power for power in range(low, max(high, low + 1) + 1)]
    axis = alt.Axis(values=powers, format="~g")
    y = alt.Y("value:Q", title=word("quantization_divergence"), scale=scale, axis=axis)
    widest = max(point.megabytes for point in points)
    x = alt.X(
        "megabytes:Q",
        title=word("quantization_bytes"),
        scale=alt.Scale(domain=[0, widest * 1.15], nice=False),
        axis=alt.Axis(tickCount=6),
    )
    base = alt.Chart(data(rows)).encode(x=x, color=charts.COLOUR)
    return [
        base.mark_rule(strokeWidth=2, opacity=0.5).encode(
            y=alt.Y("low:Q", scale=scale), y2=alt.Y2("high:Q")
        ),
        dots(base, 60).encode(y=y),
        base.mark_text(align="left", baseline="middle", dx=7).encode(y=y, text=alt.Text("name:N")),
    ]
