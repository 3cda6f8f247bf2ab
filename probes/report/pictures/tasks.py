"""Pictures of what settings do to answers and stories, and of what 4 bits do to memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from probes.report.pictures.charts import (
    MAIN,
    OTHER,
    QUIET,
    SERIES,
    TIP,
    Chart,
    data,
    heading,
    key,
    percent,
    word,
)
from probes.report.text.phrases import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probes.report.pictures.measured import Dose, Memory, Setting, Settings

WHOLE = alt.Scale(domain=[0, 1], nice=False)
SHARES = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format="~%")


def doses(found: Sequence[tuple[str, Dose]]) -> Chart:
    """The share of right answers against the temperature, a band a nucleus."""
    rows = [
        {
            "temperature": temperature,
            "least": least,
            "most": most,
            "series": number,
            "colour": SERIES[number % len(SERIES)],
            "tip": f"{name}, T {temperature:g}: {_between(least, most)}",
        }
        for number, (name, dose) in enumerate(found)
        for temperature, least, most in zip(
            dose.temperatures, dose.at_least, dose.at_most, strict=True
        )
    ]
    base = alt.Chart(data(rows)).encode(
        x=alt.X(
            "temperature:Q",
            title=word("temperature"),
            scale=alt.Scale(zero=False, nice=False, padding=4),
            axis=alt.Axis(values=_once(t for _, dose in found for t in dose.temperatures)),
        ),
        color=alt.Color("colour:N", scale=None),
        detail="series:N",
    )
    least = alt.Y("least:Q", title=word("right"), scale=WHOLE, axis=SHARES)
    names = [name for name, _ in found]
    return alt.layer(
        base.mark_area(opacity=0.25).encode(y=least, y2="most:Q"),
        base.mark_line(strokeWidth=2).encode(y=least),
        base.mark_line(strokeWidth=2).encode(y=alt.Y("most:Q", scale=WHOLE)),
        base.mark_point(filled=True, size=45, opacity=1, aria=True).encode(
            y=least, description=TIP
        ),
        *key(names, 110, 158),
        width=370,
        height=210,
    )


def settings(found: Settings) -> Chart:
    """Right answers and variety over one grid: a panel a nucleus, the temperature across."""
    nuclei = list(dict.fromkeys(each.top_p for each in found.settings))
    panels = []
    for number, top_p in enumerate(nuclei):
        rows = [
            {
                "temperature": each.temperature,
                "least": each.right_least,
                "most": each.right_most,
                "distinct": each.distinct_4_grams,
                "right_tip": _at(each) + _between(each.right_least, each.right_most),
                "tip": _at(each) + percent(each.distinct_4_grams),
            }
            for each in found.settings
            if each.top_p == top_p
        ]
        base = alt.Chart(data(rows)).encode(
            x=alt.X(
                "temperature:Q",
                title=word("temperature"),
                scale=alt.Scale(zero=False, nice=False, padding=4),
                axis=alt.Axis(values=_once(each.temperature for each in found.settings)),
            )
        )
        axis = alt.Axis(values=SHARES.values, format="~%", labels=number == 0)
        least = alt.Y("least:Q", title=None, scale=WHOLE, axis=axis)
        distinct = alt.Y("distinct:Q", title=None, scale=WHOLE, axis=axis)
        right = alt.Description("right_tip:N")
        panels.append(
            alt.layer(
                base.mark_area(opacity=0.25, color=MAIN).encode(y=least, y2="most:Q"),
                base.mark_line(strokeWidth=2, color=MAIN).encode(y=least),
                base.mark_line(strokeWidth=2, color=OTHER).encode(y=distinct),
                _points(base, MAIN).encode(y=least, description=right),
                _points(base, OTHER).encode(y=distinct, description=TIP),
                *(key([word("right"), word("distinct")], 120, 182) if number == 0 else []),
                heading(f"top_p {top_p:g}"),
                width=124,
                height=180,
            )
        )
    return alt.hconcat(*panels, spacing=16)


def memory(found: Memory) -> Chart:
    """Bytes of the linear layers and of the rest, in 16 bits and in 4."""
    rest = found.total_bytes - found.linear_bytes
    sixteen = 2 * found.linear_parameters
    kinds = [
        ("fp16", sixteen, max(found.fp16_bytes - sixteen, 0)),
        ("NF4", found.linear_bytes, rest),
    ]
    rows = [
        {
            "name": name,
            "start": start,
            "end": start + size,
            "colour": colour,
            "tip": f"{name}: {format_bytes(size)}",
        }
        for name, linear, other in kinds
        for start, size, colour in ((0, other, QUIET), (other, linear, MAIN))
    ]
    sums = [
        {"name": name, "end": linear + other, "shown": format_bytes(linear + other)}
        for name, linear, other in kinds
    ]
    most = max(linear + other for _, linear, other in kinds)
    scale = alt.Scale(domain=[0, most], range=[0, 290])
    y = alt.Y("name:O", title=None, sort=None, axis=alt.Axis(labelColor="var(--ink)"))
    parts = (
        alt.Chart(data(rows))
        .mark_bar(height={"band": 0.72}, aria=True)
        .encode(
            y=y,
            x=alt.X("start:Q", axis=None, scale=scale),
            x2="end:Q",
            color=alt.Color("colour:N", scale=None),
            description=TIP,
        )
    )
    text = (
        alt.Chart(data(sums))
        .mark_text(align="left", dx=5)
        .encode(y=y, x=alt.X("end:Q", axis=None, scale=scale), text="shown:N")
    )
    return alt.layer(parts, text, width=370, height=alt.Step(34))


def _at(setting: Setting) -> str:
    return f"T {setting.temperature:g}: "


def _once(numbers: Iterable[float]) -> list[float]:
    return sorted(set(numbers))


def _points(base: alt.Chart, colour: str) -> alt.Chart:
    points: alt.Chart = base.mark_point(filled=True, size=40, opacity=1, color=colour, aria=True)
    return points


def _between(least: float, most: float) -> str:
    """A share that is known exactly, or between bounds.

    >>> _between(0.5, 0.5), _between(0.5, 0.75)
    ('50.0 %', '50.0 % – 75.0 %')
    """
    if percent(least) == percent(most):
        return percent(least)
    return f"{percent(least)} – {percent(most)}"
