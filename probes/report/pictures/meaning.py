"""Pictures of where words lie."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

import altair as alt

from probes.report.pictures.charts import HEAT, SERIES, TIP, Chart, Row, data, label, percent, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probes.report.pictures.measured import Plane, Shared, Similarities

_Axis = TypeVar("_Axis", alt.X, alt.Y)

CELL = 16
"""Pixels a pair of words takes."""

WIDTH = 400
MARGIN = 24
LINE = 14
"""Pixels of the plane: how wide, how far its points keep from its edges, how high a line is."""


def similarities(found: Similarities) -> Chart:
    """Every pair of words as a cell, the stronger the colour the more alike."""
    return _heat_map(found.words, found.groups, found.cosine_matrix)


def shared_pieces(found: Shared) -> Chart:
    """Every pair of words as a stroke at its cosine: those that share a piece, and the others."""
    words = list(found.pieces)
    rows: list[Row] = []
    for one, other in combinations(range(len(words)), 2):
        both = common(found.pieces[words[one]], found.pieces[words[other]])
        cosine = found.cosine_matrix[one][other]
        pair = f"{label(words[one])} – {label(words[other])}"
        rows.append(
            {
                "kind": word("sharing" if both else "not-sharing"),
                "cosine": cosine,
                "colour": SERIES[1] if both else SERIES[0],
                "tip": " ".join([f"{pair}: {cosine:.4f}", *map(label, both)]),
            }
        )
    base = alt.Chart(data(rows), width=330, height=alt.Step(44))
    y = alt.Y("kind:N", title=None, sort=None, axis=alt.Axis(labelColor="var(--ink)"))
    x = alt.X("cosine:Q", title=word("cosine"), scale=alt.Scale(zero=False))
    strokes = base.mark_tick(thickness=2, bandSize=26, opacity=0.5, aria=True).encode(
        x=x, y=y, color=_as_given(), description=TIP
    )
    means = base.mark_point(
        shape="diamond", filled=True, size=110, opacity=1, color="var(--ink)"
    ).encode(x=alt.X("mean(cosine):Q", title=word("cosine")), y=y)
    return alt.layer(strokes, means)


def common(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """The pieces that two words share, but for the space that begins all of them.

    >>> common(["▁", "女", "王"], ["▁", "王"])
    ['王']
    """
    return [piece for piece in one if piece in other and piece != "▁"]


def faintest(matrix: Sequence[Sequence[float]]) -> float:
    """The smallest of all cosines: what the faintest cell stands for."""
    return min(min(row) for row in matrix)


def colours_of(groups: Sequence[str]) -> dict[str, str]:
    """A colour for each group; words of none are quiet.

    >>> colours_of(["animals", "", "people", "animals"])
    {'animals': 'var(--series-1)', 'people': 'var(--series-2)', '': 'var(--soft)'}
    """
    named = [group for group in dict.fromkeys(groups) if group]
    colours = {group: SERIES[place % len(SERIES)] for place, group in enumerate(named)}
    return colours | {"": "var(--soft)"}


def _heat_map(
    words: Sequence[str], groups: Sequence[str], matrix: Sequence[Sequence[float]]
) -> Chart:
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
        .mark_rect(color=HEAT, aria=True)
        .encode(
            x=_pixels(alt.X, "left", side),
            x2="right:Q",
            y=_pixels(alt.Y, "top", side),
            y2="bottom:Q",
            fillOpacity=alt.FillOpacity("cosine:Q", scale=strength, legend=None),
            description=TIP,
        )
    )
    colours = colours_of(groups)
    names = [
        {"at": start + CELL / 2, "name": label(name, 10), "colour": colours[group]}
        for start, name, group in zip(starts, words, groups, strict=True)
    ]
    text = alt.Chart(data(names)).encode(text="name:N", color=_as_given())
    rows = text.mark_text(align="right", baseline="middle", x=-5).encode(
        y=_pixels(alt.Y, "at", side)
    )
    columns = text.mark_text(align="left", baseline="middle", angle=270, y=-5).encode(
        x=_pixels(alt.X, "at", side)
    )
    return alt.layer(heat, rows, columns, width=side, height=side)


def _starts(groups: Sequence[str]) -> tuple[list[int], int]:
    """Where each word's cells begin, a gap between groups, and where the last end.

    >>> _starts(["a", "a", "b"])
    ([0, 16, 35], 51)
    """
    starts, at = [], 0
    for place, group in enumerate(groups):
        if place and group != groups[place - 1]:
            at += 3
        starts.append(at)
        at += CELL
    return starts, at


def plane(found: Plane) -> Chart:
    """Words as points in two components, in one scale, each with its name in its group's colour."""
    points = found.points
    places, height = _on_paper([(point.x, point.y) for point in points])
    names = [label(point.word, 12) for point in points]
    colours = colours_of([point.group for point in points])
    rows: list[Row] = [
        {
            "x": place[0],
            "y": place[1],
            "name": name,
            "name_x": beside.x,
            "name_y": beside.y,
            "left": beside.is_left,
            "led": beside.is_away,
            "colour": colours[point.group],
            "tip": f"{name}: {point.x:.2f}, {point.y:.2f}",
        }
        for point, place, name, beside in zip(
            points, places, names, _beside(places, names, height), strict=True
        )
    ]
    x, y = _pixels(alt.X, "x", WIDTH), _pixels(alt.Y, "y", height)
    name_x, name_y = _pixels(alt.X, "name_x", WIDTH), _pixels(alt.Y, "name_y", height)

    def marks(some: list[Row]) -> alt.Chart:
        coloured: alt.Chart = alt.Chart(data(some)).encode(color=_as_given())
        return coloured

    layers = [
        marks([row for row in rows if row["led"]])
        .mark_rule(strokeWidth=0.8, opacity=0.6)
        .encode(x=x, y=y, x2="name_x:Q", y2="name_y:Q"),
        marks(rows)
        .mark_point(filled=True, size=55, opacity=1, aria=True)
        .encode(x=x, y=y, description=TIP),
        marks([row for row in rows if row["left"]])
        .mark_text(align="right", baseline="middle", dx=-3)
        .encode(x=name_x, y=name_y, text="name:N"),
        marks([row for row in rows if not row["left"]])
        .mark_text(align="left", baseline="middle", dx=3)
        .encode(x=name_x, y=name_y, text="name:N"),
        _frame(found, height),
    ]
    return alt.layer(*layers, width=WIDTH, height=height)


def _frame(found: Plane, height: float) -> alt.LayerChart:
    """The axes: what they are, and how much of the variance each shows."""
    first, second = (f"PC {n} · {percent(share)}" for n, share in enumerate(_two(found), 1))
    edges = [
        {"x": 0, "y": height, "x2": WIDTH, "y2": height},
        {"x": 0, "y": height, "x2": 0, "y2": 0},
    ]
    lines = (
        alt.Chart(data(edges))
        .mark_rule(color="var(--rule)")
        .encode(x=_pixels(alt.X, "x", WIDTH), x2="x2:Q", y=_pixels(alt.Y, "y", height), y2="y2:Q")
    )
    across = alt.Chart(data([{}])).mark_text(
        align="right", baseline="top", color="var(--soft)", x=WIDTH, y=height + 5, text=first
    )
    up = alt.Chart(data([{}])).mark_text(
        align="left", baseline="bottom", color="var(--soft)", x=0, y=-4, text=second
    )
    return alt.LayerChart(layer=[lines, across, up])


def _two(found: Plane) -> list[float]:
    return found.explained_variance[:2]


def _on_paper(points: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], float]:
    """Points in pixels, in one scale for both directions, y downwards; and how high it gets."""
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, top = min(y for _, y in points), max(y for _, y in points)
    room = WIDTH - 2 * MARGIN - 40  # names stand at the right of their points
    scale = room / max(right - left, (top - low) * 0.8, 1e-9)
    height = max((top - low) * scale, 60) + 2 * MARGIN
    return [(MARGIN + (x - left) * scale, MARGIN + (top - y) * scale) for x, y in points], height


@dataclass(frozen=True)
class _Beside:
    """Where a name stands: where its text begins, or ends if it is at the left of its point."""

    x: float
    y: float
    is_left: bool
    is_away: bool


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def _beside(
    points: Sequence[tuple[float, float]], names: Sequence[str], height: float
) -> list[_Beside]:
    """A place for each name where it hides no point and no other name, as near as may be."""
    taken = [_Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    placed: dict[int, _Beside] = {}
    paper = _Box(-4, 0, WIDTH + 70, height)
    for number in sorted(range(len(points)), key=lambda n: points[n][1]):
        width = _width(names[number])
        for beside in _candidates(*points[number]):
            left = beside.x - width if beside.is_left else beside.x
            box = _Box(left, beside.y - LINE / 2, left + width, beside.y + LINE / 2)
            inside = box.left >= paper.left and box.right <= paper.right
            inside = inside and box.top >= paper.top and box.bottom <= paper.bottom
            if inside and not any(box.overlaps(other) for other in taken):
                break
        else:
            beside = next(_candidates(*points[number]))
        taken.append(box)
        placed[number] = beside
    return [placed[number] for number in range(len(points))]


def _candidates(x: float, y: float) -> Iterator[_Beside]:
    """Places for a name, the nearest first."""
    for away in range(12):
        for down in (away, -away) if away else (0,):
            for is_left in (False, True):
                across = 7 + 2 * min(away, 6)
                side = -across if is_left else across
                yield _Beside(x + side, y + down * LINE, is_left, away > 0)


def _width(text: str) -> float:
    """About how many pixels a text takes."""
    return sum(12.5 if ord(character) > 0x2E80 else 7 for character in text) + 4


def _pixels(axis: type[_Axis], field: str, size: float) -> _Axis:
    """A position that is given in pixels."""
    scale = alt.Scale(domain=[0, size], range=[0, size], nice=False, zero=False)
    return axis(f"{field}:Q", axis=None, scale=scale)


def _as_given() -> alt.Color:
    """The colour that the row names."""
    return alt.Color("colour:N", scale=None)
