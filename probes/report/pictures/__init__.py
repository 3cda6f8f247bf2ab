"""The pictures of a report: shapes of evidence in, drawings out.

`gallery` says what is drawn of each shape; the other modules draw it, and `svg` makes it safe.
Charts need the extra `charts`; without it, `boxes` has the pictures that are made of text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

    from probes.schema.record import Record


@dataclass(frozen=True)
class Picture:
    """A drawing with its title and its note."""

    key: str
    """Of its texts: `pictures.KEY.title` and `pictures.KEY.note`."""
    drawing: Markup
    """SVG, or text in boxes."""
    values: dict[str, object] = field(default_factory=dict)
    """By the names in braces in its note."""
    numbers: tuple[str, ...] = ()
    """The text of each mark, for readers who do not see the picture; empty if they are many."""
    missing: tuple[str, ...] = ()
    """Names of the targets on which it was not measured; of one target's picture, none."""


CHART_PACKAGES = {"altair": "altair", "vl_convert": "vl-convert-python"}
"""What draws charts: modules, and the packages that they are from."""


def list_missing_packages() -> list[str]:
    """Return the packages that charts need and that are not installed."""
    return [package for module, package in CHART_PACKAGES.items() if find_spec(module) is None]


def draw(record: Record) -> dict[str, tuple[Picture, ...]]:
    """Draw the pictures of a record, by claim id."""
    from probes.report.pictures import boxes

    found = {claim.id: shapes for claim in record.claims if (shapes := boxes.find_shapes(claim))}
    if not found:
        return {}
    known = boxes.PICTURES
    if not list_missing_packages():
        from probes.report.pictures import gallery  # it imports Vega, which takes a second

        known = gallery.PICTURES
    pictures = {claim: boxes.draw_shapes(shapes, known) for claim, shapes in found.items()}
    return {claim: several for claim, several in pictures.items() if several}


def draw_throughput(record: Record) -> tuple[Picture, ...]:
    """Draw a record's throughput; nothing where none was measured by batch."""
    measured = [r for r in record.throughput if r.unit == "tokens" and r.per_second]
    if not measured or list_missing_packages():
        return ()
    from probes.report.pictures import svg, throughput  # they import Vega

    try:
        drawing, numbers = svg.draw(throughput.by_batch(measured), "throughput")
    except (ValueError, ArithmeticError):  # no chart can hold these numbers; the table has them
        return ()
    return (Picture("throughput", drawing, numbers=numbers),)
