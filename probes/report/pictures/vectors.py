"""Charts about the vectors of words."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import altair as alt

from probes.report.pictures import charts
from probes.report.pictures.charts import Chart, Row, data, dots, word
from probes.report.pictures.labels import check_size, label, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probes.schema.evidence.words import SharedPieces, WordPlane, WordSimilarities

MOST_WORDS = 60
"""Words of a chart."""

CELL = 16
"""Pixels of a pair of words."""

WIDTH = 400
MARGIN = 24
LINE = 14
"""Pixels of the plane: its width, the margin around its points, the height of a line."""


def similarities(found: WordSimilarities) -> Chart:
    """Draw every pair of words as a cell: the stronger its colour, the more similar they are."""
    words, groups, matrix = found.words, found.groups, found.cosine_matrix
    check_size(words, 2, MOST_WORDS)
    starts, side = _starts(groups)
    low = faintest(matrix)
    cells = [
        {
            "left": starts[x],
            "right": starts[x] + CELL,
            "top": starts[y],
            "bottom": starts[y] + CELL,
            "cosine": cosine,
            "tip": f"{label(words[y])} – {label(words[x])}: {cosine:.3f}",
        }
        for y, row in enumerate(matrix)
        for x, cosine in enumerate(row)
    ]
    strength = alt.Scale(domain=[low, max(1.0, low + 1e-6)], range=[0.04, 1])
    heat = (
        alt.Chart(data(cells))
        .mark_rect(color=charts.HEAT, aria=True)
        .encode(
            x=charts.pixels(alt.X, "left", side),
            x2=alt.X2("right:Q"),
            y=charts.pixels(alt.Y, "top", side),
            y2=alt.Y2("bottom:Q"),
            fillOpacity=alt.FillOpacity("cosine:Q", scale=strength, legend=None),
            description=charts.TIP,
        )
    )
    colours = colours_of(groups)
    names = [
        {"at": start + CELL / 2, "name": label(name, 10), "colour": colours[group]}
        for start, name, group in zip(starts, words, groups, strict=True)
    ]
    text = alt.Chart(data(names)).encode(text=alt.Text("name:N"), color=charts.COLOUR)
    rows = text.mark_text(align="right", baseline="middle", x=-5)
    columns = text.mark_text(align="left", baseline="middle", angle=270, y=-5)
    return alt.layer(
        heat,
        rows.encode(y=charts.pixels(alt.Y, "at", side)),
        columns.encode(x=charts.pixels(alt.X, "at", side)),
        width=side,
        height=side,
    )


def faintest(matrix: Sequence[Sequence[float]]) -> float:
    """Return the smallest cosine: the value of the faintest cell."""
    return min(min(row) for row in matrix)


def colours_of(groups: Sequence[str]) -> dict[str, str]:
    """Return a colour for each group, and a quiet one for words of none.

    >>> colours_of(["animals", "", "people", "animals"])
    {'animals': 'var(--series-1)', 'people': 'var(--series-2)', '': 'var(--soft)'}
    """
    named = [group for group in dict.fromkeys(groups) if group]
    colours = {group: charts.choose_colour(place) for place, group in enumerate(named)}
    return colours | {"": "var(--soft)"}


def _starts(groups: Sequence[str]) -> tuple[list[int], int]:
    """Return where each word's cells begin, with gaps between groups, and where the last end."""
    starts, at = [], 0
    for place, group in enumerate(groups):
        if place and group != groups[place - 1]:
            at += 3
        starts.append(at)
        at += CELL
    return starts, at


def shared_pieces(found: SharedPieces) -> Chart:
    """Draw every pair of words at its cosine: pairs that share a piece, and the others."""
    words = list(found.pieces)
    check_size(words, 2, MOST_WORDS)
    rows: list[Row] = []
    for one, other in combinations(range(len(words)), 2):
        shared = common(found.pieces[words[one]], found.pieces[words[other]])
        cosine = found.cosine_matrix[one][other]
        pair = f"{label(words[one])} – {label(words[other])}"
        rows.append(
            {
                "kind": word("sharing" if shared else "not-sharing"),
                "cosine": cosine,
                "colour": charts.SERIES[1] if shared else charts.SERIES[0],
                "tip": " ".join([f"{pair}: {cosine:.4f}", *map(label, shared)]),
            }
        )
    base = alt.Chart(data(rows), width=330, height=alt.Step(44))
    y = alt.Y("kind:N", title=None, sort=None, axis=alt.Axis(labelColor="var(--ink)"))
    x = alt.X("cosine:Q", title=word("cosine"), scale=alt.Scale(zero=False))
    strokes = base.mark_tick(thickness=2, bandSize=26, opacity=0.5, aria=True).encode(
        x=x, y=y, color=charts.COLOUR, description=charts.TIP
    )
    means = base.mark_point(
        shape="diamond", filled=True, size=110, opacity=1, color="var(--ink)"
    ).encode(x=alt.X("mean(cosine):Q", title=word("cosine")), y=y)
    return alt.layer(strokes, means)


def common(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Return the pieces that two words share, without the space that begins every word.

    >>> common(["▁", "女", "王"], ["▁", "王"])
    ['王']
    """
    return [piece for piece in one if piece in other and piece != "▁"]


def plane(found: WordPlane) -> Chart:
    """Draw words as points in two components, each with its name in its group's colour."""
    points = found.points
    check_size(points, 2, MOST_WORDS)
    check_size(found.explained_variance, 2, 10_000)
    places, height = _on_paper([(point.x, point.y) for point in points])
    names = [label(point.word, 12) for point in points]
    colours = colours_of([point.group for point in points])
    rows: list[Row] = [
        {
            "x": place[0],
            "y": place[1],
            "name": name,
            "name_x": at.x,
            "name_y": at.y,
            "left": at.is_left,
            "led": at.is_away,
            "colour": colours[point.group],
            "tip": f"{name}: {point.x:.2f}, {point.y:.2f}",
        }
        for point, place, name, at in zip(
            points, places, names, _place_names(places, names, height), strict=True
        )
    ]
    x, y = charts.pixels(alt.X, "x", WIDTH), charts.pixels(alt.Y, "y", height)
    name_x, name_y = charts.pixels(alt.X, "name_x", WIDTH), charts.pixels(alt.Y, "name_y", height)

    def marks(some: list[Row]) -> alt.Chart:
        coloured: alt.Chart = alt.Chart(data(some)).encode(color=charts.COLOUR)
        return coloured

    lines = marks([row for row in rows if row["led"]]).mark_rule(strokeWidth=0.8, opacity=0.6)
    layers = [
        lines.encode(x=x, y=y, x2=alt.X2("name_x:Q"), y2=alt.Y2("name_y:Q")),
        dots(marks(rows), size=55).encode(x=x, y=y),
    ]
    right: Row = {"align": "right", "dx": -3}
    left: Row = {"align": "left", "dx": 3}
    for is_left, style in ((True, right), (False, left)):
        names_there = marks([row for row in rows if row["left"] == is_left])
        text = names_there.mark_text(baseline="middle", **style)
        layers.append(text.encode(x=name_x, y=name_y, text=alt.Text("name:N")))
    return alt.layer(*layers, _frame(found, height), width=WIDTH, height=height)


def _frame(found: WordPlane, height: float) -> alt.LayerChart:
    """Return the axes, named with the share of the variance that each shows."""
    first, second = (
        f"PC {number} · {percent(share)}"
        for number, share in enumerate(found.explained_variance[:2], 1)
    )
    edges = [
        {"x": 0, "y": height, "x2": WIDTH, "y2": height},
        {"x": 0, "y": height, "x2": 0, "y2": 0},
    ]
    lines = (
        alt.Chart(data(edges))
        .mark_rule(color="var(--rule)")
        .encode(
            x=charts.pixels(alt.X, "x", WIDTH),
            x2=alt.X2("x2:Q"),
            y=charts.pixels(alt.Y, "y", height),
            y2=alt.Y2("y2:Q"),
        )
    )
    style = {"color": "var(--soft)"}
    across = charts.write(first, WIDTH, height + 5, align="right", baseline="top", **style)
    up = charts.write(second, 0, -4, align="left", baseline="bottom", **style)
    return alt.LayerChart(layer=[lines, across, up])


def _on_paper(points: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], float]:
    """Return points in pixels, in one scale for both directions, y downwards; and the height."""
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, top = min(y for _, y in points), max(y for _, y in points)
    room = WIDTH - 2 * MARGIN - 40  # names are at the right of their points
    scale = room / max(right - left, (top - low) * 0.8, 1e-9)
    height = max((top - low) * scale, 60) + 2 * MARGIN
    return [(MARGIN + (x - left) * scale, MARGIN + (top - y) * scale) for x, y in points], height


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float


class NamePlace(NamedTuple):
    """Where a name begins, or ends if it is at the left of its point; and what it covers."""

    x: float
    y: float
    is_left: bool
    is_away: bool
    box: Box


def _place_names(
    points: Sequence[tuple[float, float]], names: Sequence[str], height: float
) -> list[NamePlace]:
    """Find a place for each name, near its point, where it hides no point and no other name."""
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    places: dict[int, NamePlace] = {}
    for number in sorted(range(len(points)), key=lambda n: points[n][1]):
        candidates = list(_candidates(*points[number], _width(names[number])))
        free = (place for place in candidates if _is_free(place.box, taken, height))
        places[number] = next(free, candidates[0])
        taken.append(places[number].box)
    return [places[number] for number in range(len(points))]


def _candidates(x: float, y: float, width: float) -> Iterator[NamePlace]:
    """Yield places for a name, the nearest first."""
    for away in range(12):
        across = 7 + 2 * min(away, 6)
        for middle in dict.fromkeys((y + away * LINE, y - away * LINE)):
            top, bottom = middle - LINE / 2, middle + LINE / 2
            right, left = x + across, x - across
            yield NamePlace(right, middle, False, away > 0, Box(right, top, right + width, bottom))
            yield NamePlace(left, middle, True, away > 0, Box(left - width, top, left, bottom))


def _is_free(box: Box, taken: Sequence[Box], height: float) -> bool:
    """Whether a box is on the paper and overlaps no other."""
    is_inside = box.left >= -4 and box.right <= WIDTH + 70 and box.top >= 0 and box.bottom <= height
    return is_inside and not any(
        box.left < other.right
        and other.left < box.right
        and box.top < other.bottom
        and other.top < box.bottom
        for other in taken
    )


def _width(text: str) -> float:
    """Return about how many pixels a text takes."""
    return sum(12.5 if ord(character) > 0x2E80 else 7 for character in text) + 4
