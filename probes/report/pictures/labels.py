"""Texts and sizes of pictures of every kind, with charts or without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.report.visible import cut, make_visible

if TYPE_CHECKING:
    from collections.abc import Sized

LONGEST = 18
"""Characters of a label."""


def check_size(items: Sized, least: int, most: int) -> None:
    """Raise ValueError for a chart that would be empty, or too large to read."""
    if not least <= len(items) <= most:
        raise ValueError(f"{len(items)} items in a chart, not {least} to {most}")


def label(text: str, longest: int = LONGEST) -> str:
    r"""Return a short label of a text from outside, on one line, with nothing unseen.

    >>> label(" Tokyo\u202e"), label(" "), label("a" * 100_000, 8)
    ('TokyoU+202E', '␣', 'aaaaaaa…')
    """
    # Spelling out only makes a text longer.
    shown = make_visible(text.strip(" ")[: longest + 1])
    if not shown:
        return "␣" * min(len(text), longest) or "∅"
    return cut(shown, longest)


def percent(share: float) -> str:
    """Return a share as text.

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


def signed(number: float) -> str:
    """Return two decimals, with a minus as wide as a plus."""
    return f"{number:.2f}".replace("-", "−")
