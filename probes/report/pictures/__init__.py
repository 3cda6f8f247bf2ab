"""The pictures of a report: evidence in, drawings out, by claim.

`measured` says what evidence each is made of, `meaning`, `choosing` and `tasks` make charts of it
and `strips` rows of text, `svg` makes them safe for the page. A claim whose evidence is of another
shape has no picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from probes.report.locale.markup import say

if TYPE_CHECKING:
    from markupsafe import Markup

    from probes.schema.record import Record


@dataclass(frozen=True)
class Picture:
    """A drawing, what it is called and how it is read."""

    key: str
    """Of its texts: `pictures.KEY.title` and `pictures.KEY.note`."""
    drawing: Markup
    """SVG, or text in boxes."""
    values: dict[str, object] = field(default_factory=dict)
    """What stands in the braces of its note."""
    numbers: tuple[str, ...] = ()
    """What its marks say one by one, for those who do not see them; empty where they are many."""

    @property
    def title(self) -> Markup:
        """What it shows, in every language."""
        return say(f"pictures.{self.key}.title")

    @property
    def note(self) -> Markup:
        """How it is read, in every language."""
        return say(f"pictures.{self.key}.note", **self.values)


def draw(record: Record) -> dict[str, tuple[Picture, ...]]:
    """The pictures of a record, by claim id; of claims that have any."""
    measured = [c for c in record.claims if any(check.values for check in c.evidence)]
    if not measured:
        return {}
    from probes.report.pictures import gallery  # it brings Vega along, which takes a second

    drawn = {claim.id: gallery.pictures(claim) for claim in measured}
    return {claim: pictures for claim, pictures in drawn.items() if pictures}


def draw_throughput(record: Record) -> tuple[Picture, ...]:
    """The picture of a record's throughput; none where none was measured by batch."""
    measured = [r for r in record.throughput if r.unit == "tokens" and r.per_second]
    if not measured:
        return ()
    from probes.report.pictures import speed, svg  # they bring Vega along

    try:
        drawing, numbers = svg.draw(speed.by_batch(measured), "throughput")
    except (ValueError, ArithmeticError):  # numbers no chart can hold; the table has them
        return ()
    return (Picture("throughput", drawing, numbers=numbers),)
