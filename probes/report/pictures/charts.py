"""What charts of every kind are made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import altair as alt

from probes.report.locale import LANGUAGES, texts
from probes.report.pictures.svg import VALUE, WORD
from probes.report.visible import make_visible

if TYPE_CHECKING:
    from collections.abc import Sequence

Chart: TypeAlias = alt.TopLevelMixin
Row: TypeAlias = dict[str, Any]

LONGEST = 18
"""Characters of a label."""

SERIES = tuple(f"var(--series-{number})" for number in range(1, 7))
"""Colours that tell things apart."""

MAIN, OTHER, QUIET, HEAT = SERIES[0], SERIES[1], "var(--quiet)", "var(--heat)"

BAR = 15
"""Pixels a bar with its gap takes."""

TIP = alt.Description("tip:N")
"""What a mark says when it is pointed at: the same in every language."""


def word(key: str, value: object = None) -> str:
    """A label that is the page's own, to be written in each language, with the value in it."""
    said = WORD + texts(next(iter(LANGUAGES)))[f"pictures.labels.{key}"]
    return said if value is None else f"{said}{VALUE}{value}"


def label(text: str, longest: int = LONGEST) -> str:
    r"""A text from outside as a label: short, on one line, nothing in it unseen.

    >>> label(" Tokyo\u202e"), label(" "), label("a" * 100_000, 8)
    ('TokyoU+202E', '␣', 'aaaaaaa…')
    """
    # No longer than it takes: what is spelled out only grows.
    shown = make_visible(text.strip(" ")[: longest + 1])
    if not shown:
        return "␣" * min(len(text), longest) or "∅"
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def data(rows: Sequence[Row]) -> alt.InlineData:
    """Rows as they travel with the chart: as one text, which is not copied at each step."""
    values = json.dumps(list(rows), allow_nan=False)
    return alt.InlineData(values=values, format=alt.JsonDataFormat(type="json"))


def percent(share: float) -> str:
    """A share for people.

    >>> percent(0.9110), percent(0.00455), percent(1e-6), percent(1), percent(0), percent(0.9999)
    ('91.1 %', '0.46 %', '< 0.01 %', '100 %', '0 %', '> 99.9 %')
    """
    if share <= 0 or share >= 1:
        return "0 %" if share <= 0 else "100 %"
    if share < 0.0001:
        return "< 0.01 %"
    if share > 0.999:
        return "> 99.9 %"
    return f"{share:.2%}".replace("%", " %") if share < 0.01 else f"{share:.1%}".replace("%", " %")


@dataclass(frozen=True)
class Bar:
    """One bar of a row of them."""

    name: str
    length: float
    shown: str
    """Its value, written at its end."""
    tip: str = ""
    colour: str = MAIN


def bars(
    rows: Sequence[Bar], *, longest: float, width: int, title: str = "", named: bool = True
) -> alt.LayerChart:
    """Bars one below the other, each with its name at the left and its value at its end.

    The names are texts of their own and no axis: two tokens may look alike.

    Args:
        rows: the bars.
        longest: the length that fills the width.
        width: in pixels, without the names, with the values.
        title: above them.
        named: whether the names stand there; beside a chart with the same ones they need not.
    """
    values = [
        {
            "place": place,
            "name": row.name,
            "length": row.length,
            "shown": row.shown,
            "colour": row.colour,
            "tip": row.tip or f"{row.name}: {row.shown}",
        }
        for place, row in enumerate(rows)
    ]
    room = 7 * max((len(row.shown) for row in rows), default=0)
    scale = alt.Scale(domain=[0, longest], range=[0, max(width - room, 20)])
    base = alt.Chart(data(values)).encode(y=alt.Y("place:O", axis=None))
    length = alt.X("length:Q", axis=None, scale=scale)
    layers = [
        base.mark_bar(height={"band": 0.72}, aria=True).encode(
            x=length,
            color=alt.Color("colour:N", scale=None),
            description=TIP,
        ),
        base.mark_text(align="left", baseline="middle", dx=4, color="var(--soft)").encode(
            x=length, text="shown:N"
        ),
    ]
    if named:
        layers.append(base.mark_text(align="right", baseline="middle", x=-6).encode(text="name:N"))
    return alt.LayerChart(
        layer=layers, width=width, height=alt.Step(BAR), title=title or alt.Undefined
    )


def heading(text: str) -> alt.Chart:
    """A title at one height in all panels, whatever their axes take."""
    titled: alt.Chart = alt.Chart(data([{}])).mark_text(
        align="left", baseline="bottom", fontWeight=600, x=0, y=-9, text=text
    )
    return titled


def key(names: Sequence[str], right: int, bottom: int) -> list[alt.Chart]:
    """Names of series in their colours, one below the other, in the lower right corner.

    Args:
        names: in the order of `SERIES`.
        right: pixels from the left to where they end.
        bottom: pixels from the top to below the last.
    """
    top = bottom - 10 - 17 * (len(names) - 1)
    return [
        alt.Chart(data([{}])).mark_text(
            align="right",
            baseline="middle",
            fontWeight=600,
            color=SERIES[number % len(SERIES)],
            x=right - 4,
            y=top + 17 * number,
            text=name,
        )
        for number, name in enumerate(names)
    ]
