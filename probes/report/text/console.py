"""Text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from probes.report.locale import phrase
from probes.report.text import comparison as phrases
from probes.report.text.quantization import describe_cost
from probes.report.visible import make_visible
from probes.schema.comparison import Comparison, Outcome

GOOD = (Outcome.FIXED, Outcome.ADDED, Outcome.SAME)


def create_console(width: int, colour: bool) -> Console:
    """Return a terminal of `width` columns that colours with terminal codes, or not at all."""
    return Console(
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )


def format_comparison(comparison: Comparison, width: int = 80, colour: bool = False) -> str:
    """Return a comparison as text for a terminal of `width` columns."""
    console = create_console(width, colour)
    with console.capture() as capture:
        _print(console, phrases.format_run(comparison.old, "old"))
        _print(console, phrases.format_run(comparison.new, "new"))
        _print_environment(console, comparison)
        for claim in phrases.list_changed_claims(comparison):
            verdicts = f"{claim.id}: {phrases.format_verdicts(claim)}"
            _print_part(console, claim.outcome, verdicts, phrases.describe_claim(claim))
        if drift := comparison.drift:
            lines = phrases.describe_drift(drift)
            for name, value, interval in phrases.list_drift_measures(drift):
                lines.append(f"{phrase(f'compare.{name}')}: {value} ({interval})")
            lines += map(phrases.describe_flip, drift.flips[: phrases.MOST_LINES])
            _print_part(console, drift.outcome, phrase("compare.distributions"), lines)
        if comparison.speed is not None:
            _print(console, phrases.describe_speed(comparison.speed))
        if comparison.throughput:
            _print(console, phrase("throughput.heading"))
        for rate in comparison.throughput:
            words = phrases.list_ratio(rate)
            _print(console, f"  {phrase('throughput.ratio_said', **words)}")
        if comparison.quantizations:
            _print(console, phrase("compare.quantizations"))
        for cost in comparison.quantizations:
            _print(console, f"  {describe_cost(cost)}")
        _print(console, phrases.format_outcomes(comparison), style="bold")
    return capture.get()


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(make_visible(text), style=style), soft_wrap=True)


def _print_part(console: Console, outcome: Outcome, title: str, lines: Iterable[str]) -> None:
    style = "green" if outcome in GOOD else "yellow"
    style = "bold red" if outcome is Outcome.NEWLY_FAILING else style
    heading = Text.assemble((phrases.format_outcome(outcome), style), f": {make_visible(title)}")
    console.print(heading, soft_wrap=True)
    for line in lines:
        _print(console, f"  {line}")


def _print_environment(console: Console, comparison: Comparison) -> None:
    if not comparison.environment:
        _print(console, phrase("compare.no_environment"))
        return
    _print(console, phrase("compare.environment"))
    table = Table()
    for name in ("fact", "old", "new"):
        table.add_column(phrase(f"compare.{name}"), overflow="fold")
    for change in comparison.environment:
        table.add_row(*(Text(make_visible(each)) for each in (change.name, change.old, change.new)))
    console.print(table)
