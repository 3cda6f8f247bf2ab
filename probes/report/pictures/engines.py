"""Charts of an engine beside its reference: its log-probabilities, and the settings in force."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

import altair as alt

from probes.report.pictures import charts
from probes.report.pictures.charts import Chart, Row, data, dots, word
from probes.report.pictures.labels import check_size, label, signed
from probes.schema.evidence.engines import AS_ASKED, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probes.schema.evidence.engines import (
        EngineDistance,
        EnginePower,
        EngineStep,
        EngineSteps,
        SettingsInForce,
    )

WIDTH, HEIGHT = 240, 220
"""Pixels of a panel of points."""

MOST_STEPS = 1000
MOST_SETTINGS = 60
"""Points and bars of a chart."""

ROOM = 280
"""Pixels of the bars."""

VALUES = 60
"""Pixels of the values at their right."""

ROW = 17
"""Pixels of a bar and its gap."""

STANDS_OUT = "var(--fails)"
"""What rounding, or the settings asked for, do not explain."""

DASHED: Row = {"strokeDash": [5, 4], "strokeWidth": 1.5}

EDGE: Row = {"stroke": "var(--paper)", "strokeWidth": 4}
"""The edge of a text, which covers what lies behind."""

FOUND: Row = {"align": "left", "color": STANDS_OUT, "fontWeight": 600}
"""How the settings that draws follow are written."""

POWERS = "datum.value < 0.01 ? format(datum.value, '.0e') : format(datum.value, '~g')"
"""How powers of ten are written."""

# --- log-probabilities ---------------------------------------------------------------------------


class Kind(NamedTuple):
    """A kind of step: the key of its label, and how its points look."""

    key: str
    colour: str
    shape: str = "circle"
    size: int = 60


EXPLAINED = Kind("engine_explained", charts.MAIN, size=30)
OTHER_TOP = Kind("engine_other_top", charts.OTHER, "diamond")
BEYOND = Kind("engine_beyond", STANDS_OUT)
BOTH = Kind("engine_both", STANDS_OUT, "diamond")
KINDS = (EXPLAINED, OTHER_TOP, BEYOND, BOTH)
"""In the order in which they are drawn: the last lies on top."""


def steps(found: EngineSteps) -> Chart:
    """Draw log-probabilities against the reference's, and their changes by token position."""

    def kind_of(step: EngineStep) -> Kind:
        if step.change > found.tolerance:
            return BEYOND if step.same_top else BOTH
        return EXPLAINED if step.same_top else OTHER_TOP

    line = _Line(found.tolerance, word("engine_tolerance", f"{found.tolerance:.2g}"))
    return _pair(found.engine_steps, kind_of, "change", [line])


def distance(found: EngineDistance) -> Chart:
    """Draw log-probabilities against the reference's, and the divergence by token position."""
    means = {"engine_mean": found.mean_divergence, "engine_nf4_mean": found.mean_divergence_of_nf4}
    lines = [_Line(mean, word(key, f"{mean:.2g}")) for key, mean in means.items()]
    return _pair(
        found.engine_steps,
        lambda step: EXPLAINED if step.same_top else OTHER_TOP,
        "divergence",
        lines,
    )


class _Line(NamedTuple):
    """A line across a panel, with its name."""

    at: float
    name: str


def _pair(
    several: Sequence[EngineStep],
    kind_of: Callable[[EngineStep], Kind],
    measure: str,
    lines: Sequence[_Line],
) -> Chart:
    """Return the scatter, and beside it a measure of each step by its position."""
    check_size(several, 2, MOST_STEPS)
    values = [getattr(step, measure) for step in several]
    least = _least(values, [line.at for line in lines])
    rows: list[Row] = []
    for step, value in zip(several, values, strict=True):
        kind = kind_of(step)
        differs = "" if step.same_top else " ≠"
        rows.append(
            {
                "engine": step.engine,
                "reference": step.reference,
                "position": step.position,
                "value": max(value, least),
                "kind": KINDS.index(kind),
                "colour": kind.colour,
                "tip": f"{label(step.prompt, 40)} … {step.position} {label(step.token)}{differs}: "
                f"{signed(step.engine)} | {signed(step.reference)}, Δ {value:.2g}",
            }
        )
    rows.sort(key=lambda row: int(row["kind"]))
    kinds = [kind for place, kind in enumerate(KINDS) if any(r["kind"] == place for r in rows)]
    return alt.hconcat(_scatter(rows, kinds), _by_position(rows, kinds, measure, lines), spacing=34)


def _least(values: Sequence[float], lines: Sequence[float]) -> float:
    """Return the bottom of a logarithmic scale: a change of zero has no place on one."""
    highest = max(*values, *lines, 1e-12)
    return max(min((v for v in (*values, *lines) if v > 0), default=highest), highest * 1e-15)


def _scatter(rows: Sequence[Row], kinds: Sequence[Kind]) -> alt.LayerChart:
    low = min(min(row["engine"], row["reference"]) for row in rows)
    scale = alt.Scale(domain=[low * 1.03, 0], nice=False)
    ends = data([{"start": low * 1.03, "end": 0}])
    diagonal = (
        alt.Chart(ends)
        .mark_rule(color="var(--soft)")
        .encode(
            x=alt.X("start:Q", scale=scale),
            x2=alt.X2("end:Q"),
            y=alt.Y("start:Q", scale=scale),
            y2=alt.Y2("end:Q"),
        )
    )
    x = alt.X("reference:Q", title=word("engine_reference"), scale=scale)
    y = alt.Y("engine:Q", title=word("engine_engine"), scale=scale)
    named = [kind for kind in KINDS if kind in kinds or (kind is OTHER_TOP and BOTH in kinds)]
    names = [word(kind.key) for kind in named]
    return alt.LayerChart(
        layer=[
            diagonal,
            *(layer.encode(x=x, y=y) for layer in _points(rows, kinds)),
            *charts.key(names, WIDTH, HEIGHT, [kind.colour for kind in named]),
        ],
        width=WIDTH,
        height=HEIGHT,
    )


def _by_position(
    rows: Sequence[Row], kinds: Sequence[Kind], measure: str, lines: Sequence[_Line]
) -> alt.LayerChart:
    values = [row["value"] for row in rows] + [line.at for line in lines if line.at > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    powers = range(low, high + 1, 1 + (high - low) // 6)
    scale = alt.Scale(type="log", domain=[10.0**low, 10.0**high * 1.5], nice=False)
    axis = alt.Axis(values=[10.0**power for power in powers], labelExpr=POWERS)
    y = alt.Y("value:Q", title=word(f"engine_{measure}"), scale=scale, axis=axis)
    most = max(row["position"] for row in rows)
    x = alt.X(
        "position:Q",
        title=word("engine_position"),
        scale=alt.Scale(domain=[-0.5, most + 0.5], nice=False, zero=False),
        axis=alt.Axis(tickMinStep=1, format="d"),
    )
    layers = [layer.encode(x=x, y=y) for layer in _points(rows, kinds)]
    for line in (line for line in lines if line.at > 0):
        base = alt.Chart(data([{"value": line.at}])).encode(y=y)
        layers.append(base.mark_rule(color="var(--ink)", **DASHED))
        for edge in (EDGE, {}):  # points may lie behind the text
            style = {"align": "right", "baseline": "bottom", "fontWeight": 600, **edge}
            layers.append(
                base.mark_text(x=WIDTH, dy=-3, **style).encode(text=alt.TextValue(line.name))
            )
    return alt.LayerChart(layer=layers, width=WIDTH, height=HEIGHT)


def _points(rows: Sequence[Row], kinds: Sequence[Kind]) -> list[alt.Chart]:
    return [
        dots(
            alt.Chart(data([row for row in rows if row["kind"] == KINDS.index(kind)])),
            kind.size,
            opacity=0.75,
            color=kind.colour,
            shape=kind.shape,
        )
        for kind in kinds
    ]


# --- settings ------------------------------------------------------------------------------------


def settings(found: Sequence[tuple[str, SettingsInForce]]) -> Chart:
    """Draw the evidence for other settings as bars from 0, a panel for each that was asked for."""
    every = [each.nats for _, one in found for each in one.alternatives]
    check_size(every, 1, MOST_SETTINGS)
    limit = max(one.limit for _, one in found)
    ends = (min(0.0, *every), max(limit, *every))
    scale = alt.Scale(type="symlog", constant=1, domain=[*ends], range=[0, ROOM], nice=False)
    panels = []
    for number, (name, one) in enumerate(found):
        rows = [
            _SettingBar(
                name_setting(each.settings),
                0.0,
                each.nats,
                _nats(each.nats),
                f"{label(name, 40)}, {label(each.settings, 60)}: {_nats(each.nats)}",
                _colour(each.nats, one.limit),
            )
            for each in one.alternatives
        ]
        limits = [_Line(one.limit, word("engine_limit", f"{one.limit:.0f}") if not number else "")]
        panel = _bars(rows, scale, [_Line(0.0, ""), *limits], label(name, 40))
        if one.in_force != AS_ASKED:
            shown = one.in_force.removesuffix(", though it was not asked for")
            text = word("engine_unknown") if one.in_force == UNKNOWN else f"→ {label(shown, 60)}"
            panel.layer.append(charts.write(text, -6, ROW * len(rows) + 9, **FOUND))
        panels.append(panel)
    return alt.vconcat(*panels, spacing=12)


def power(found: EnginePower) -> Chart:
    """Draw how many tokens would show each setting, beside the number drawn."""
    needed = found.tokens_needed
    check_size(needed, 1, MOST_SETTINGS)
    most = max(found.drawn_tokens, 10, *(each.tokens or 1 for each in needed))
    scale = alt.Scale(type="log", domain=[1, most], range=[0, ROOM], nice=False)
    rows = []
    for each in needed:
        count = "∞" if each.tokens is None else f"{each.tokens:,}"
        enough = each.tokens is not None and each.tokens <= found.drawn_tokens
        length = float(most if each.tokens is None else max(1, each.tokens))
        tip = f"{label(each.settings, 60)}: {count}"
        colour = charts.MAIN if enough else charts.QUIET
        rows.append(_SettingBar(name_setting(each.settings), 1.0, length, count, tip, colour))
    drawn = _Line(max(1, found.drawn_tokens), word("engine_drawn", f"{found.drawn_tokens:,}"))
    return _bars(rows, scale, [drawn], "")


class _SettingBar(NamedTuple):
    """A bar, with its name at the left of all bars and its value at the right of them."""

    name: str
    start: float
    end: float
    shown: str
    tip: str
    colour: str


def _bars(
    rows: Sequence[_SettingBar], scale: alt.Scale, lines: Sequence[_Line], title: str
) -> alt.LayerChart:
    height = ROW * len(rows)
    placed = [{**row._asdict(), "y": ROW * (place + 0.5)} for place, row in enumerate(rows)]
    y = charts.pixels(alt.Y, "y", height)
    base = alt.Chart(data(placed)).encode(y=y)

    def at(field: str) -> alt.X:
        return alt.X(f"{field}:Q", axis=None, scale=scale)

    layers: list[alt.Chart] = [
        base.mark_bar(size=ROW - 5, aria=True).encode(
            x=at("start"), x2=alt.X2("end:Q"), color=charts.COLOUR, description=charts.TIP
        ),
        base.mark_text(align="right", baseline="middle", x=-6).encode(text=alt.Text("name:N")),
    ]
    for line in lines:
        rule = alt.Chart(data([{"at": line.at}])).encode(x=at("at"))
        style = DASHED if line.at else {}
        layers.append(rule.mark_rule(color="var(--soft)", **style))
        if line.name:
            layers.append(
                rule.mark_text(baseline="bottom", y=-4, fontWeight=600).encode(
                    text=alt.TextValue(line.name)
                )
            )
    style = {"align": "right", "baseline": "middle", "color": "var(--soft)"}
    layers.append(base.mark_text(x=ROOM + VALUES, **style).encode(text=alt.Text("shown:N")))
    if title:
        layers.append(charts.write(title, -6, -4, align="right", baseline="bottom", fontWeight=600))
    return alt.LayerChart(layer=layers, width=ROOM, height=height)


def _colour(nats: float, limit: float) -> str:
    if nats >= limit:
        return STANDS_OUT
    return charts.MAIN if nats > 0 else charts.QUIET


def _nats(number: float) -> str:
    return f"{number:,.1f}".replace("-", "−")


NAMES = {
    "greedy decoding: no temperature": "engine_greedy",
    "temperature applied twice": "engine_twice",
    "temperature not applied": "engine_ignored",
    "no filter, though one was asked for": "engine_unfiltered",
    "filters before the temperature": "engine_filters_first",
    "the temperature before filters": "engine_temperature_first",
    "the settings of its own defaults": "engine_defaults",
}
"""Settings that have a name in every language, by what the evidence calls them."""

TIMES = re.compile(r"temperature ([\d.]+) times what was asked for")
UNASKED = re.compile(r"(\w+ [\d.]+), though it was not asked for")


def name_setting(settings: str) -> str:
    """Return a short name for settings, in every language where it has words.

    >>> name_setting("top_k 40, though it was not asked for")
    'top_k 40'
    """
    if settings in NAMES:
        return word(NAMES[settings])
    if match := TIMES.fullmatch(settings):
        return word("engine_temperature", label(match[1]))
    match = UNASKED.fullmatch(settings)
    return label(match[1] if match else settings, 34)
