"""Text for a terminal: what all of it is written by, and a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from probes.report.comparing import (
    TOLD,
    compared_headline,
    compared_run,
    difference_words,
    drift_words,
    estimate_words,
    flip_words,
    in_order,
    measures,
    outcome_word,
    place,
    speed_words,
    turn,
)
from probes.report.language import phrase
from probes.report.marking import visible
from probes.report.rates import ratio_words
from probes.schema.comparison import Comparison, Outcome

if TYPE_CHECKING:
    from probes.schema.comparison import ClaimComparison, Drift

STYLES = {
    Outcome.NEWLY_FAILING: "bold red",
    Outcome.CHANGED: "yellow",
    Outcome.DRIFTED: "yellow",
    Outcome.REMOVED: "yellow",
    Outcome.NOT_COMPARABLE: "yellow",
    Outcome.FIXED: "green",
    Outcome.ADDED: "green",
    Outcome.SAME: "green",
}


def console_of(width: int, colour: bool) -> Console:
    """A terminal to write a text for.

    Args:
        width: its columns.
        colour: whether to colour with terminal codes.
    """
    return Console(
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )


def comparison_text(comparison: Comparison, width: int = 80, colour: bool = False) -> str:
    """A comparison as text.

    Args:
        comparison: what was found.
        width: columns of the terminal.
        colour: whether to colour outcomes with terminal codes.
    """
    console = console_of(width, colour)
    with console.capture() as capture:
        for which in ("old", "new"):
            said = compared_run(getattr(comparison, which), which)
            console.print(Text(visible(said)), soft_wrap=True)
        _environment(console, comparison)
        for claim in in_order(comparison):
            _claim(console, claim)
        if comparison.drift is not None:
            _drift(console, comparison.drift)
        if comparison.speed is not None:
            console.print(speed_words(comparison.speed), soft_wrap=True)
        if comparison.throughput:
            console.print(phrase("throughput.heading", "en"), soft_wrap=True)
        for rate in comparison.throughput:
            console.print(Text(f"  {visible(ratio_words(rate))}"), soft_wrap=True)
        console.print(Text(compared_headline(comparison), style="bold"), soft_wrap=True)
    return capture.get()


def _environment(console: Console, comparison: Comparison) -> None:
    if not comparison.environment:
        console.print(phrase("compare.no_environment", "en"), soft_wrap=True)
        return
    console.print(phrase("compare.environment", "en"), soft_wrap=True)
    table = Table()
    for name in ("fact", "old", "new"):
        table.add_column(phrase(f"compare.{name}", "en"), overflow="fold")
    for change in comparison.environment:
        table.add_row(*(Text(visible(each)) for each in (change.name, change.old, change.new)))
    console.print(table)


def _claim(console: Console, claim: ClaimComparison) -> None:
    outcome = (outcome_word(claim.outcome), STYLES[claim.outcome])
    console.print(Text.assemble(outcome, f": {visible(claim.id)}: {turn(claim)}"), soft_wrap=True)
    for which, reason in (("old", claim.old_reason), ("new", claim.new_reason)):
        if reason and claim.old_reason != claim.new_reason:
            console.print(Text(f"  {_word(which)}: {visible(reason)}"), soft_wrap=True)
    for difference in claim.differences[:TOLD]:
        said = f"  {place(difference)}: {difference_words(difference)}"
        console.print(Text(visible(said)), soft_wrap=True)
    if len(claim.differences) > TOLD:
        more = phrase("compare.more", "en", n=len(claim.differences) - TOLD)
        console.print(Text(f"  {more}"), soft_wrap=True)


def _word(which: str) -> str:
    return phrase(f"compare.reason_{which}", "en")


def _drift(console: Console, drift: Drift) -> None:
    outcome = (outcome_word(drift.outcome), STYLES[drift.outcome])
    heading = phrase("compare.distributions", "en")
    console.print(Text.assemble(outcome, f": {heading}"), soft_wrap=True)
    for said in drift_words(drift):
        console.print(Text(f"  {visible(said)}"), soft_wrap=True)
    for name, estimate in measures(drift):
        value, interval = estimate_words(name, estimate)
        what = phrase(f"compare.{name}", "en")
        console.print(Text(f"  {what}: {value} ({interval})"), soft_wrap=True)
    for flip in drift.flips[:TOLD]:
        console.print(Text(f"  {visible(flip_words(flip))}"), soft_wrap=True)
