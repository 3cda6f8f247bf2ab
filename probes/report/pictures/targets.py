"""Charts that lay several targets beside each other, each target in its own colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import altair as alt

from probes.report.locale import LANGUAGES, texts
from probes.report.pictures import Picture, charts, svg
from probes.report.pictures.charts import Chart, Row, data, dots, word
from probes.report.pictures.labels import check_size, label, percent, signed
from probes.report.pictures.quantization import quality_by_target
from probes.report.pictures.tasks import SHARES, WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from probes.schema.evidence.distributions import EntropyCurve
    from probes.schema.evidence.texts import AnswerBounds, GreedyRepetition
    from probes.schema.evidence.words import TokensByScript, WordSimilarities

Found: TypeAlias = "Mapping[str, Mapping[str, Any]]"
"""Evidence by target, then by what its check was made for."""

LINE = 16
"""Pixels of a line of text."""

PANEL, HEIGHT = 150, 170
"""Pixels of a panel of lines."""

ROOM, ROW = 330, 30
"""Pixels of a row of two points."""

WIDE, SCRIPT, LANE = 370, 22, 2.2
"""Pixels of a row of a script, and between the points of two targets in it."""

LONGEST_SCRIPT = 112
"""Pixels of a script's name, in any language."""

NAME: Row = {"baseline": "middle", "fontWeight": 600}
"""How targets are named."""

MOST_POINTS = 200
"""Points of a target's line."""

MOST_SCRIPTS = 24
MOST_NUMBERS = 60
"""Marks whose numbers are listed beside the picture."""


def choose_colours(targets: Sequence[str]) -> dict[str, str]:
    """Return a colour for each target, the same in every picture."""
    return {target: charts.choose_colour(place) for place, target in enumerate(targets)}


def draw(
    key: str, found: Found, colours: Mapping[str, str], missing: tuple[str, ...] = ()
) -> Picture | None:
    """Draw one subject for the targets in `found`; None if no chart can hold its numbers."""
    try:
        drawing, numbers = svg.draw(CHARTS[key](found, colours), key)
    except (ValueError, ArithmeticError):
        return None
    numbers = numbers if len(numbers) <= MOST_NUMBERS else ()
    return Picture(key, drawing, numbers=numbers, missing=missing)


# --- lines ---------------------------------------------------------------------------------------


class Line(NamedTuple):
    """One target's line in a panel."""

    target: str
    colour: str
    points: list[tuple[float, float, float]]
    """Temperature, and the bounds of the value there."""


def accuracy(found: Found, colours: Mapping[str, str]) -> Chart:
    """Draw the share of right answers against the temperature."""
    lines = []
    for target, by_setting in found.items():
        bounds: AnswerBounds = next(iter(by_setting.values()))
        points = [*zip(bounds.temperatures, bounds.at_least, bounds.at_most, strict=True)]
        lines.append(Line(target, colours[target], points))
    y = alt.Y("low:Q", title=word("right"), scale=WHOLE, axis=alt.Axis(values=SHARES, format="~%"))
    return alt.layer(*_lines(lines, y, percent), *_names(lines, 2 * PANEL, 1), **_size(2))


def entropy(found: Found, colours: Mapping[str, str]) -> Chart:
    """Draw the entropy of the next token against the temperature: a panel a prompt."""
    prompts = [*dict.fromkeys(prompt for curves in found.values() for prompt in curves)][:2]
    panels: list[tuple[str, list[Line]]] = []
    for prompt in prompts:
        lines = []
        for target, curves in found.items():
            curve: EntropyCurve | None = curves.get(prompt)
            if curve is not None:
                pairs = zip(curve.temperatures, curve.entropies, strict=True)
                lines.append(Line(target, colours[target], [(t, e, e) for t, e in pairs]))
        panels.append((prompt, lines))
    most = max(high for _, lines in panels for line in lines for _, _, high in line.points)
    scale = alt.Scale(domain=[0, most], nice=False)
    drawn = []
    for place, (prompt, lines) in enumerate(panels):
        y = alt.Y(
            "low:Q",
            title=word("entropy") if place == 0 else None,
            scale=scale,
            axis=alt.Axis(tickCount=4, labels=place == 0, titleY=-30),
        )
        is_last = place == len(panels) - 1
        layers = _lines(lines, y, lambda value: f"{value:.2f}")
        layers += _names(lines, PANEL, most) if is_last else []
        drawn.append(alt.layer(*layers, charts.heading(label(prompt, 26)), **_size(1)))
    return alt.hconcat(*drawn, spacing=14)


def _size(panels: int) -> dict[str, Any]:
    return {"width": panels * PANEL, "height": HEIGHT}


def _lines(lines: Sequence[Line], y: alt.Y, show: Callable[[float], str]) -> list[alt.Chart]:
    """Return the layers of lines over the temperature; a band where bounds differ."""
    rows: list[Row] = []
    for line in lines:
        check_size(line.points, 2, MOST_POINTS)
        for temperature, low, high in line.points:
            ends = dict.fromkeys((show(low), show(high)))
            tip = f"{label(line.target)}, T {temperature:g}: {' – '.join(ends)}"
            row = {"temperature": temperature, "low": low, "high": high, "tip": tip}
            rows.append({**row, "target": line.target, "colour": line.colour})
    base = alt.Chart(data(rows)).encode(
        x=alt.X(
            "temperature:Q",
            title=word("temperature"),
            scale=alt.Scale(nice=False, zero=False, padding=4),
            axis=alt.Axis(tickCount=5),
        ),
        color=charts.COLOUR,
    )
    return [
        base.mark_area(opacity=0.15 if len(lines) < 4 else 0.06).encode(
            y=y, y2=alt.Y2("high:Q"), detail=alt.Detail("target:N")
        ),
        base.mark_line(strokeWidth=2).encode(y=y, detail=alt.Detail("target:N")),
        base.mark_line(strokeWidth=0.7).encode(y=alt.Y("high:Q"), detail=alt.Detail("target:N")),
        dots(base, 30).encode(y=y),
    ]


def _names(lines: Sequence[Line], right: float, most: float) -> list[alt.Chart]:
    """Return the targets' names at the ends of their lines, none over another."""
    ends = [line.points[-1][1] for line in lines]
    places = spread([HEIGHT * (1 - end / most) for end in ends], HEIGHT)
    rows = [
        {
            "end": end,
            "place": most * (1 - place / HEIGHT),
            "name": label(line.target),
            "colour": line.colour,
        }
        for line, end, place in zip(lines, ends, places, strict=True)
    ]
    base = alt.Chart(data(rows)).encode(color=charts.COLOUR)
    x, x2 = alt.value(right + 1), alt.value(right + 13)
    return [
        base.mark_rule(opacity=0.5).encode(x=x, x2=x2, y=alt.Y("end:Q"), y2=alt.Y2("place:Q")),
        base.mark_text(align="left", x=right + 16, **NAME).encode(
            y=alt.Y("place:Q"), text=alt.Text("name:N")
        ),
    ]


def spread(places: Sequence[float], height: float, gap: float = LINE) -> list[float]:
    """Return where to write names, near these places but `gap` apart, in pixels.

    >>> spread([100, 104, 20], height=120)
    [100, 116, 20]
    >>> spread([118, 119], height=120)
    [104, 120]
    """
    moved = dict.fromkeys(range(len(places)), 0.0)
    order = sorted(moved, key=lambda number: places[number])
    lowest = -gap
    for number in order:
        moved[number] = lowest = max(places[number], lowest + gap)
    highest = max(height, (len(order) - 1) * gap) + gap
    for number in reversed(order):
        moved[number] = highest = min(moved[number], highest - gap)
    return [*moved.values()]


# --- two points a target -------------------------------------------------------------------------


class Pair(NamedTuple):
    """One target's row: two values that are compared."""

    target: str
    colour: str
    hollow: float
    filled: float


def repetition(found: Found, colours: Mapping[str, str]) -> Chart:
    """Draw how much of a text repeats itself: sampled and greedy."""
    pairs = []
    for target, by_test in found.items():
        each: GreedyRepetition = next(iter(by_test.values()))
        shares = 1 - each.sampled_distinct, 1 - each.greedy_distinct
        pairs.append(Pair(target, colours[target], *shares))
    axis = alt.Axis(values=SHARES, format="~%")
    return _pairs(pairs, (0, 1), word("repeated_sides"), axis, percent)


def groups(found: Found, colours: Mapping[str, str]) -> Chart:
    """Draw how similar words are: of different groups and of one group."""
    pairs = []
    for target, by_test in found.items():
        across, inside = mean_cosines(next(iter(by_test.values())))
        pairs.append(Pair(target, colours[target], across, inside))
    lowest = min(0.0, *(min(pair.hollow, pair.filled) for pair in pairs))
    highest = max(0.1, *(max(pair.hollow, pair.filled) for pair in pairs))
    axis = alt.Axis(tickCount=5)
    return _pairs(pairs, (lowest, highest), word("cosine_sides"), axis, signed)


def mean_cosines(found: WordSimilarities) -> tuple[float, float]:
    """Return the mean cosine of two words of different groups, and of one; others are left out.

    Raises ZeroDivisionError if there are no such words.

    >>> from probes.schema.evidence.words import WordSimilarities
    >>> matrix = [[1.0, 0.9, 0.2], [0.9, 1.0, 0.4], [0.2, 0.4, 1.0]]
    >>> words = {"words": ["king", "queen", "dog"], "groups": ["royalty", "royalty", "animals"]}
    >>> across, inside = mean_cosines(WordSimilarities(**words, cosine_matrix=matrix))
    >>> round(across, 2), round(inside, 2)
    (0.3, 0.9)
    """
    across: list[float] = []
    inside: list[float] = []
    for place, group in enumerate(found.groups):
        for earlier, other in enumerate(found.groups[:place]):
            if group and other:
                (inside if group == other else across).append(found.cosine_matrix[place][earlier])
    return sum(across) / len(across), sum(inside) / len(inside)


def _pairs(
    pairs: Sequence[Pair],
    domain: tuple[float, float],
    title: str,
    axis: alt.Axis,
    show: Callable[[float], str],
) -> Chart:
    """Return a row a target: a hollow and a filled point, each with its value."""
    rows: list[Row] = []
    for place, pair in enumerate(pairs):
        ends = sorted((pair.hollow, pair.filled))
        tip = f"{label(pair.target)}: ○ {show(pair.hollow)}, ● {show(pair.filled)}"
        row = {"y": ROW * (place + 0.5), "hollow": pair.hollow, "filled": pair.filled, "tip": tip}
        shown = dict(zip(("left", "right"), map(show, ends), strict=True))
        row |= {"start": ends[0], "end": ends[1], "shown_left": shown["left"]}
        row |= {"shown_right": shown["right"], "name": label(pair.target), "colour": pair.colour}
        rows.append(row)
    height = ROW * len(pairs)
    scale = alt.Scale(domain=[*domain], range=[60, ROOM - 48], nice=False, zero=False)
    base = alt.Chart(data(rows)).encode(
        y=charts.pixels(alt.Y, "y", height), color=charts.COLOUR, description=charts.TIP
    )

    def at(field: str) -> alt.X:
        return alt.X(f"{field}:Q", title=title, scale=scale, axis=axis)

    text = base.encode(color=alt.ColorValue("var(--soft)"))
    hollow = {"filled": False, "fill": "var(--paper)", "strokeWidth": 2}
    return alt.layer(
        base.mark_rule(strokeWidth=2, opacity=0.5).encode(x=at("start"), x2=alt.X2("end:Q")),
        base.mark_point(size=70, opacity=1, **hollow).encode(x=at("hollow")),
        dots(base, 90).encode(x=at("filled")),
        text.mark_text(align="right", baseline="middle", dx=-9).encode(
            x=at("start"), text=alt.Text("shown_left:N")
        ),
        text.mark_text(align="left", baseline="middle", dx=9).encode(
            x=at("end"), text=alt.Text("shown_right:N")
        ),
        base.mark_text(align="left", x=-_room(pairs), **NAME).encode(text=alt.Text("name:N")),
        width=ROOM,
        height=height,
    )


def _room(pairs: Sequence[Pair]) -> float:
    """Return the pixels that names of targets take at the left of a chart."""
    wide = [sum(13 if ord(c) > 0x2E80 else 8 for c in label(pair.target)) for pair in pairs]
    return max(wide) + 8.0


# --- tokens --------------------------------------------------------------------------------------


def tokens(found: Found, colours: Mapping[str, str]) -> Chart:
    """Draw tokens per character: a row a script, a point a target."""
    by_script: dict[str, dict[str, Row]] = {}
    for target, by_test in found.items():
        counted: TokensByScript = next(iter(by_test.values()))
        for each in counted.tokens_by_script:
            rate = each.tokens / each.characters
            tip = f"{label(target)}, {label(each.script)}: {rate:.2f}"
            row = {"rate": rate, "colour": colours[target], "tip": tip}
            by_script.setdefault(each.script, {})[target] = row
    check_size(by_script, 1, MOST_SCRIPTS)
    scripts = sorted(by_script, key=lambda script: _mean_rate(by_script[script]))
    height = SCRIPT * len(scripts)
    y, at = charts.pixels(alt.Y, "y", height), alt.X("rate:Q", title=word("tokens_per_character"))
    middles = {script: SCRIPT * (place + 0.5) for place, script in enumerate(scripts)}
    points = [
        {**by_script[script][target], "y": middle + LANE * (lane - (len(found) - 1) / 2)}
        for script, middle in middles.items()
        for lane, target in enumerate(found)
        if target in by_script[script]
    ]
    named = [{"y": middle, "name": name_script(script)} for script, middle in middles.items()]
    lines = alt.Chart(data(named)).encode(y=y)
    names = [
        {"y": SCRIPT / 2 + LINE * place, "name": label(target), "colour": colours[target]}
        for place, target in enumerate(found)
    ]
    scale = alt.Scale(zero=True, nice=False)
    return alt.layer(
        lines.mark_rule(color="var(--rule)"),
        lines.mark_text(align="left", baseline="middle", x=-LONGEST_SCRIPT).encode(
            text=alt.Text("name:N")
        ),
        dots(alt.Chart(data(points)), 50, opacity=0.85).encode(
            y=y, x=at.scale(scale).axis(alt.Axis(tickCount=5)), color=charts.COLOUR
        ),
        alt.Chart(data(names))
        .mark_text(align="left", x=WIDE + 14, **NAME)
        .encode(y=y, color=charts.COLOUR, text=alt.Text("name:N")),
        width=WIDE,
        height=height,
    )


def name_script(script: str) -> str:
    """Return a script's name: a label in every language if it is one of the suite's."""
    key = f"script_{script}"
    known = f"pictures.labels.{key}" in texts(next(iter(LANGUAGES)))
    return word(key) if known else label(script)


def _mean_rate(rows: Mapping[str, Row]) -> float:
    return sum(float(row["rate"]) for row in rows.values()) / len(rows)


CHARTS: dict[str, Callable[[Found, Mapping[str, str]], Chart]] = {
    "sides-accuracy": accuracy,
    "sides-entropy": entropy,
    "sides-repetition": repetition,
    "sides-groups": groups,
    "sides-tokens": tokens,
    "sides-quantization": quality_by_target,
}
"""What draws each subject, by the key of its texts."""
