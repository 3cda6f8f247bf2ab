"""A chart as SVG that can be part of a page: drawn by Vega, then rewritten from an allow-list.

Part of the page, its colours follow the page's light and dark, and its labels the page's language;
as an image it could do neither. Only listed elements and attributes are kept, so that no script,
link, style or id gets into the page from a model's text. The text that Vega gives a mark for screen
readers becomes the mark's title, which browsers also show when it is pointed at.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup, escape

from probes.report.locale import LANGUAGES, texts
from probes.report.locale.markup import attributes

if TYPE_CHECKING:
    from collections.abc import Iterable

    import altair

WORD, VALUE = "\ue000", "\ue001"
"""The first begins a label of the page's own, the second the value in it.

They are in no other text: `make_visible` spells them out.
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
    # Upright, above the axis: readable in any script.
    "axisY": {"titleAngle": 0, "titleAlign": "left", "titleX": -26, "titleY": -12, "domain": False},
    "axisX": {"grid": False, "labelFlush": False},
    "title": {"anchor": "start", "color": "var(--ink)", "fontSize": 12, "fontWeight": 600},
    "text": {"color": "var(--ink)", "fontSize": 12},
}
"""The look of every chart, in the page's colours."""

_SPACE = "{http://www.w3.org/2000/svg}"
_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?"
_LENGTH = re.compile(rf"{_NUMBER}(?:px)?")
_COLOUR = re.compile(r"none|transparent|var\(--[a-z0-9-]+\)")
_WORDS = re.compile(r"[a-z0-9 -]*")
_DASHES = re.compile(rf"{_NUMBER}(?:[ ,]{_NUMBER})*")
_TRANSFORM = re.compile(rf"(?:(?:translate|rotate|scale)\({_NUMBER}(?:[ ,]+{_NUMBER})*\) ?)+")
_PATH = re.compile(rf"(?:[MLHVCSQTAZ]|{_NUMBER}|[ ,])*", re.IGNORECASE)

_ELEMENTS = {"g", "path", "line", "rect", "text", "tspan"}
_ATTRIBUTES = {
    "d": _PATH,
    "transform": _TRANSFORM,
    "stroke-dasharray": _DASHES,
    **dict.fromkeys(("fill", "stroke"), _COLOUR),
    **dict.fromkeys(("text-anchor", "font-weight"), _WORDS),
    **dict.fromkeys(("x", "y", "x1", "y1", "x2", "y2", "width", "height"), _LENGTH),
    **dict.fromkeys(("font-size", "stroke-width"), _LENGTH),
    **dict.fromkeys(("opacity", "fill-opacity", "stroke-opacity"), _LENGTH),
}
"""The attributes an element may have, and the form of their values."""

_DEFAULTS = {
    ("opacity", "1"),
    ("font-weight", "normal"),
    ("text-anchor", "start"),
    ("transform", "translate(0,0)"),
}


def draw(chart: altair.TopLevelMixin, key: str) -> tuple[Markup, tuple[str, ...]]:
    """Return a chart as SVG and the texts of its marks.

    The chart holds its data: nothing is fetched. `key` finds its texts, whose title names it.
    """
    import vl_convert  # of the extra `charts`

    spec = chart.to_dict(validate=False)
    return clean(vl_convert.vegalite_to_svg(spec, config=CONFIG, allowed_base_urls=[]), key)


def clean(source: str, key: str) -> tuple[Markup, tuple[str, ...]]:
    """Return an SVG document of Vega's with only what is allowed in it, and its marks' texts.

    Raises ValueError if it cannot be read, or holds an element or a value that is not allowed.
    """
    if "<!" in source or "<?" in source:
        raise ValueError("a declaration in a picture")
    try:
        root = ElementTree.fromstring(source)  # noqa: S314 - without declarations it is harmless
    except ElementTree.ParseError as error:
        raise ValueError(f"a picture is not XML: {error}") from error
    if root.tag != f"{_SPACE}svg":
        raise ValueError("a picture is not SVG")
    size = [_check(name, root.get(name, ""), _LENGTH) for name in ("width", "height")]
    opening = Markup('<svg role="img" {} width="{}" height="{}" viewBox="0 0 {} {}">').format(
        attributes("aria-label", f"pictures.{key}.title"), *size, *size
    )
    tips = tuple(tip for node in root.iter() if (tip := _tip(node)))
    return opening + _join(map(_rewrite, root)) + Markup("</svg>"), tips


def _rewrite(node: ElementTree.Element) -> Markup:
    """Return an element with the attributes and children that are allowed."""
    name = node.tag.removeprefix(_SPACE)
    if name == "defs" or node.get("display") == "none" or _is_invisible(node, name):
        return Markup("")
    if name not in _ELEMENTS:
        raise ValueError(f"<{name}> in a picture")
    kept = [
        Markup(' {}="{}"').format(key, checked)
        for key, value in node.attrib.items()
        if key in _ATTRIBUTES and (key, value) not in _DEFAULTS
        if (checked := _check(key, value, _ATTRIBUTES[key]))
    ]
    inner = _write_label(node.text or "") if name in ("text", "tspan") else Markup("")
    inner += _join(map(_rewrite, node))
    if tip := _tip(node):
        inner = Markup("<title>{}</title>").format(tip) + inner
    if name == "g" and not (kept and inner):
        return inner
    tag = Markup(name)  # noqa: S704 - it is one of ours
    return Markup("<{}{}>{}</{}>").format(tag, _join(kept), inner, tag)


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)


def _is_invisible(node: ElementTree.Element, name: str) -> bool:
    """Whether it is a shape without a colour: Vega draws one behind every group."""
    colours = {node.get("fill", "none"), node.get("stroke", "none")}
    return name in ("path", "line", "rect") and colours <= {"none", "transparent"}


def _tip(node: ElementTree.Element) -> str:
    return "" if node.tag.endswith("}g") else node.get("aria-label", "")


def _check(key: str, value: str, pattern: re.Pattern[str]) -> str:
    """Return a value of the right form, its numbers rounded to what the eye needs."""
    if not pattern.fullmatch(value):
        raise ValueError(f"{key}={value[:80]!r} in a picture")
    if pattern in (_COLOUR, _WORDS):
        return value
    short = re.sub(_NUMBER, lambda match: f"{round(float(match.group()), 2):g}", value)
    return short.removesuffix("px")


def _write_label(text: str) -> Markup:
    """Return a label in each language if it is the page's own, any other as it is."""
    first, _, value = text.removeprefix(WORD).partition(VALUE)
    if not text.startswith(WORD) or first not in _labels():
        return escape(text)
    span = Markup('<tspan lang="{}">{}</tspan>')
    return _join(span.format(code, said.format(value)) for code, said in _labels()[first].items())


@cache
def _labels() -> dict[str, dict[str, str]]:
    """Return the labels of charts in every language, by their text in the first."""
    first = texts(next(iter(LANGUAGES)))
    return {
        text: {code: texts(code)[key] for code in LANGUAGES}
        for key, text in first.items()
        if key.startswith("pictures.labels.")
    }
