"""The pictures of a report: shapes of evidence in, drawings out.

`gallery` says what is drawn of each shape; the other modules draw it, and `svg` makes it safe.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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


def draw(record: Record) -> dict[str, tuple[Picture, ...]]:
    """Draw the pictures of a record, by claim id."""
    measured = [c for c in record.claims if any(check.values for check in c.evidence)]
    if not measured:
        return {}
    from probes.report.pictures import gallery  # it imports Vega, which takes a second

    pictures = {claim.id: gallery.draw_claim(claim) for claim in measured}
    return {claim: several for claim, several in pictures.items() if several}


def draw_throughput(record: Record) -> tuple[Picture, ...]:
    """Draw a record's throughput; nothing where none was measured by batch."""
    measured = [r for r in record.throughput if r.unit == "tokens" and r.per_second]
    if not measured:
        return ()
    from probes.report.pictures import svg, throughput  # they import Vega

    try:
        drawing, numbers = svg.draw(throughput.by_batch(measured), "throughput")
    except (ValueError, ArithmeticError):  # no chart can hold these numbers; the table has them
        return ()
    return (Picture("throughput", drawing, numbers=numbers),)
