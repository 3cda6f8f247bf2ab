"""A chart as SVG that can stand in a page: drawn by Vega, then written anew.

It is written from a list of what may be in it. Nothing else is taken over, so that no script, link,
style or id gets into the page, whatever a model's text holds. What Vega says to screen readers of
a mark becomes the mark's title, which browsers also show when it is pointed at.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import vl_convert
from markupsafe import Markup, escape

from probes.report.locale import LANGUAGES, texts
from probes.report.locale.markup import attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import altair

WORD, VALUE = "\ue000", "\ue001"
"""The first begins a label that is the page's own, the second the value that stands in it.

They are in no other text: `visible` spells them out.
"""

CONFIG: dict[str, Any] = {
    "aria": False,
    "background": "transparent",
    "padding": 3,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "labelFontSize": 12,
        "labelPadding": 5,
        "titleColor": "var(--soft)",
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 7,
        "gridColor": "var(--rule)",
        "domainColor": "var(--rule)",
        "ticks": False,
    },
    # Upright, above the axis: so it is read in any script.
    "axisY": {"titleAngle": 0, "titleAlign": "left", "titleX": -26, "titleY": -12, "domain": False},
    "axisX": {"grid": False, "labelFlush": False},
    "title": {"anchor": "start", "color": "var(--ink)", "fontSize": 12, "fontWeight": 600},
    "text": {"color": "var(--ink)", "fontSize": 12},
    "legend": {
        "labelColor": "var(--soft)",
        "labelFontSize": 12,
        "titleColor": "var(--soft)",
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
}
"""How every chart looks. Colours are the page's variables, and so follow its light."""

_SPACE = "{http://www.w3.org/2000/svg}"
_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?"
_LENGTH = re.compile(rf"{_NUMBER}(?:px)?")
_COLOUR = re.compile(r"none|transparent|var\(--[a-z0-9-]+\)")
_WORDS = re.compile(r"[a-z0-9 -]*")
_DASHES = re.compile(rf"{_NUMBER}(?:[ ,]{_NUMBER})*")
_TRANSFORM = re.compile(rf"(?:(?:translate|rotate|scale)\({_NUMBER}(?:[ ,]+{_NUMBER})*\) ?)+")
_PATH = re.compile(rf"(?:[MLHVCSQTAZ]|{_NUMBER}|[ ,])*", re.IGNORECASE)

_ATTRIBUTES = {
    "d": _PATH,
    "transform": _TRANSFORM,
    "fill": _COLOUR,
    "stroke": _COLOUR,
    "stroke-dasharray": _DASHES,
    "text-anchor": _WORDS,
    "font-weight": _WORDS,
} | dict.fromkeys(
    (
        *("x", "y", "x1", "y1", "x2", "y2", "width", "height"),
        *("font-size", "stroke-width", "opacity", "fill-opacity", "stroke-opacity"),
    ),
    _LENGTH,
)
"""What an element may carry, and how it must look."""

_ELEMENTS = {"g", "path", "line", "rect", "text", "tspan"}
_DEFAULTS = {
    ("opacity", "1"),
    ("font-weight", "normal"),
    ("text-anchor", "start"),
    ("transform", "translate(0,0)"),
}


def draw(chart: altair.TopLevelMixin, key: str) -> tuple[Markup, tuple[str, ...]]:
    """A chart as SVG, named by the title of its texts, and what its marks say one by one."""
    # Its data come along: nothing may be fetched.
    drawn = vl_convert.vegalite_to_svg(
        chart.to_dict(validate=False), config=CONFIG, allowed_base_urls=[]
    )
    return clean(drawn, key)


def clean(source: str, key: str) -> tuple[Markup, tuple[str, ...]]:
    """SVG from Vega, written anew from what is allowed.

    Args:
        source: a document.
        key: of the picture's texts; their title names the picture.

    Raises:
        ValueError: for what cannot be read, or holds an element or a value not allowed.
    """
    if "<!" in source or "<?" in source:
        raise ValueError("a declaration in a picture")
    try:
        root = ElementTree.fromstring(source)  # noqa: S314 - without declarations it is harmless
    except ElementTree.ParseError as error:
        raise ValueError(f"a picture is not XML: {error}") from error
    if root.tag != f"{_SPACE}svg":
        raise ValueError("a picture is not SVG")
    size = {name: _checked(name, root.get(name, ""), _LENGTH) for name in ("width", "height")}
    opening = Markup('<svg role="img" {} width="{}" height="{}" viewBox="0 0 {} {}">').format(
        attributes("aria-label", f"pictures.{key}.title"), *size.values(), *size.values()
    )
    inner = Markup("").join(part for child in root for part in _written(child))
    said = tuple(node.get("aria-label", "") for node in root.iter() if _is_said(node))
    return opening + inner + Markup("</svg>"), said


def _written(node: ElementTree.Element) -> Iterator[Markup]:
    name = node.tag.removeprefix(_SPACE)
    if name == "defs" or node.get("display") == "none" or _is_unseen(node, name):
        return
    if name not in _ELEMENTS:
        raise ValueError(f"<{name}> in a picture")
    kept = Markup("").join(
        Markup(' {}="{}"').format(key, value) for key, value in _allowed(node) if value
    )
    inner = _text(node.text or "") if name in ("text", "tspan") else Markup("")
    inner += Markup("").join(part for child in node for part in _written(child))
    if _is_said(node):
        inner = Markup("<title>{}</title>").format(node.get("aria-label")) + inner
    if name == "g" and (not kept or not inner):
        yield inner
        return
    tag = Markup(name)  # noqa: S704 - it is one of ours
    yield Markup("<{}{}>{}</{}>").format(tag, kept, inner, tag)


def _is_unseen(node: ElementTree.Element, name: str) -> bool:
    """A shape without a colour: Vega draws one behind every group."""
    colours = {node.get("fill", "none"), node.get("stroke", "none")}
    return name in ("path", "line", "rect") and colours <= {"none", "transparent"}


def _is_said(node: ElementTree.Element) -> bool:
    return bool(node.get("aria-label")) and not node.tag.endswith("}g")


def _allowed(node: ElementTree.Element) -> Iterator[tuple[str, str]]:
    for key, value in node.attrib.items():
        if key in _ATTRIBUTES and (key, value) not in _DEFAULTS:
            yield key, _checked(key, value, _ATTRIBUTES[key])


def _checked(key: str, value: str, pattern: re.Pattern[str]) -> str:
    """A value that looks as it must, its numbers as short as the eye needs them."""
    if not pattern.fullmatch(value):
        raise ValueError(f"{key}={value[:80]!r} in a picture")
    if pattern in (_COLOUR, _WORDS):
        return value
    short = re.sub(_NUMBER, lambda match: f"{round(float(match.group()), 2):g}", value)
    return short.removesuffix("px")


def _text(text: str) -> Markup:
    """A label: of the page's own in each language, any other as it is."""
    if not text.startswith(WORD):
        return escape(text)
    first, _, value = text.removeprefix(WORD).partition(VALUE)
    said = _words().get(first)
    if said is None:
        return escape(text)
    return Markup("").join(
        Markup('<tspan lang="{}">{}</tspan>').format(code, said[code].format(value))
        for code in LANGUAGES
    )


@cache
def _words() -> dict[str, dict[str, str]]:
    """Labels of charts in all languages, by the first."""
    first = texts(next(iter(LANGUAGES)))
    return {
        text: {code: texts(code)[key] for code in LANGUAGES}
        for key, text in first.items()
        if key.startswith("pictures.labels.")
    }
