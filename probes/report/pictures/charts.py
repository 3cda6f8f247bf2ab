"""Parts that charts of every kind are made of.

A chart names the classes of its channels, as in `alt.Text("name:N")`: for `text="name:N"` Altair
looks for the class among all of its own, which takes 5 ms.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import altair as alt

from probes.report.locale import LANGUAGES, texts
from probes.report.pictures.svg import VALUE, WORD

if TYPE_CHECKING:
    from collections.abc import Sequence

Chart: TypeAlias = alt.TopLevelMixin
Row: TypeAlias = dict[str, Any]

_Axis = TypeVar("_Axis", alt.X, alt.Y)

SERIES = tuple(f"var(--series-{number})" for number in range(1, 9))

MAIN, OTHER, QUIET, HEAT = SERIES[0], SERIES[1], "var(--quiet)", "var(--heat)"

BAR = 15
"""Pixels of a bar and its gap."""

COLOUR = alt.Color("colour:N", scale=None)
"""The colour that the row names."""

TIP = alt.Description("tip:N")
"""The text of a mark that is pointed at: the same in every language."""


def choose_colour(series: int) -> str:
    """Return the colour of a series, counted from 0."""
    return SERIES[series % len(SERIES)]


def word(key: str, value: object = None) -> str:
    """Return a label that is written in each language, with the value in it."""
    text = WORD + texts(next(iter(LANGUAGES)))[f"pictures.labels.{key}"]
    return text if value is None else f"{text}{VALUE}{value}"


def data(rows: Sequence[Row]) -> alt.InlineData:
    """Return rows as one text, which Altair does not copy at each step."""
    values = json.dumps(list(rows), allow_nan=False)
    return alt.InlineData(values=values, format=alt.JsonDataFormat(type="json"))


def pixels(axis: type[_Axis], field: str, size: float) -> _Axis:
    """Return a position in pixels."""
    scale = alt.Scale(domain=[0, size], range=[0, size], nice=False, zero=False)
    return axis(f"{field}:Q", axis=None, scale=scale)


def dots(base: alt.Chart, size: int = 45, **mark: Any) -> alt.Chart:
    """Return points that say their tip."""
    points: alt.Chart = base.mark_point(
        filled=True, size=size, **{"opacity": 1, "aria": True, **mark}
    ).encode(description=TIP)
    return points


def write(text: str, x: float, y: float, **mark: Any) -> alt.Chart:
    """Return one text at a place in pixels."""
    written: alt.Chart = alt.Chart(data([{}])).mark_text(x=x, y=y, text=text, **mark)
    return written


def heading(text: str) -> alt.Chart:
    """Return a title at the same height in all panels, independent of their axes."""
    return write(text, 0, -9, align="left", baseline="bottom", fontWeight=600)


def key(
    names: Sequence[str], right: int, bottom: int, colours: Sequence[str] = SERIES
) -> list[alt.Chart]:
    """Return the names of series in the order of their colours, right-aligned, in a column.

    It ends `right` pixels from the left, and just above `bottom` pixels from the top.
    """
    top = bottom - 10 - 17 * (len(names) - 1)
    style = {"align": "right", "baseline": "middle", "fontWeight": 600}
    return [
        write(name, right - 4, top + 17 * number, color=colours[number % len(colours)], **style)
        for number, name in enumerate(names)
    ]


@dataclass(frozen=True)
class Bar:
    """One bar of a row of bars."""

    name: str
    length: float
    shown: str
    """Its value, written at its end."""
    tip: str = ""
    colour: str = MAIN


def bars(
    rows: Sequence[Bar], *, longest: float, width: int, title: str = "", named: bool = True
) -> alt.LayerChart:
    """Return bars one below the other, each with its name at the left and its value at its end.

    The names are texts and no axis: two tokens may have one name. `longest` is the length that
    fills `width`, in pixels without the names and with the values.
    """
    values = [
        {"place": place, **vars(row), "tip": row.tip or f"{row.name}: {row.shown}"}
        for place, row in enumerate(rows)
    ]
    room = 7 * max((len(row.shown) for row in rows), default=0)
    scale = alt.Scale(domain=[0, longest], range=[0, max(width - room, 20)])
    base = alt.Chart(data(values)).encode(y=alt.Y("place:O", axis=None))
    length = alt.X("length:Q", axis=None, scale=scale)
    layers = [
        base.mark_bar(height={"band": 0.72}, aria=True).encode(
            x=length, color=COLOUR, description=TIP
        ),
        base.mark_text(align="left", baseline="middle", dx=4, color="var(--soft)").encode(
            x=length, text=alt.Text("shown:N")
        ),
    ]
    if named:
        layers.append(
            base.mark_text(align="right", baseline="middle", x=-6).encode(text=alt.Text("name:N"))
        )
    return alt.LayerChart(
        layer=layers, width=width, height=alt.Step(BAR), title=title or alt.Undefined
    )
