"""A run as text for the terminal: what fails, a table, and a line for all that did not hold."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from probes._util.text import shorten
from probes.report.text.console import create_console
from probes.report.text.phrases import LONGEST_SETTING, format_command, format_counts, name_source
from probes.report.visible import make_visible
from probes.schema.evidence.settings import UsedSettings
from probes.schema.record import (
    BROKEN,
    OPEN,
    ClaimRecord,
    Record,
    Verdict,
    count_verdicts,
    group_by_reason,
)

_COLUMNS = (
    ("hold", Verdict.HOLDS, "green"),
    ("fail", Verdict.FAILS, "bold red"),
    ("error", Verdict.ERROR, "bold red"),
    ("not observed", Verdict.NOT_OBSERVED, "yellow"),
    ("not applicable", Verdict.NOT_APPLICABLE, "yellow"),
    ("not decided", Verdict.NOT_DECIDED, "bold red"),
)
_GROUPED = {Verdict.NOT_DECIDED: "bold red", Verdict.NOT_APPLICABLE: "yellow"}
"""Verdicts of which one line a reason is enough, with their style."""


def format_run(record: Record, width: int = 80, colour: bool = False) -> str:
    """Return what fails, verdicts by section, all that does not hold, and rates.

    `width` is in columns.
    """
    console = create_console(width, colour)
    broken = [c for c in record.claims if c.verdict in BROKEN and not c.known_failure]
    with console.capture() as capture:
        if record.claims or not record.throughput:
            console.print(_headline(record), soft_wrap=True)
            for claim in broken:
                console.print(_line(claim), soft_wrap=True)
            if broken:
                command = make_visible(format_command(broken[0], record.target))
                console.print(Text(f"to decide one alone: {command}"), soft_wrap=True)
            console.print(_table(record))
        for claim in record.claims:
            if claim not in broken and claim.verdict not in (Verdict.HOLDS, *_GROUPED):
                console.print(_line(claim), soft_wrap=True)
        for verdict, style in _GROUPED.items():
            for reason, claims in group_by_reason(record.claims, verdict):
                console.print(
                    Text.assemble(
                        (verdict.value, style), make_visible(f": {', '.join(claims)}: {reason}")
                    ),
                    soft_wrap=True,
                )
        for reason, claims in _group_parts(record).items():
            named = make_visible(f"{', '.join(claims)}: {reason}")
            console.print(Text(f"holds, but not all of it is applicable: {named}"), soft_wrap=True)
        if record.throughput:
            measured = sum(rate.per_second is not None for rate in record.throughput)
            console.print(
                Text(
                    f"throughput on {make_visible(record.target.name)}: "
                    f"{measured} of {len(record.throughput)} rates measured"
                ),
                soft_wrap=True,
            )
    return capture.get()


def _group_parts(record: Record) -> dict[str, list[str]]:
    """Group the claims that hold by the reasons why checks of theirs are not applicable."""
    reasons: dict[str, list[str]] = {}
    for claim in record.claims:
        if claim.verdict is Verdict.HOLDS:
            checks = (each for each in claim.evidence if each.verdict is Verdict.NOT_APPLICABLE)
            for reason in dict.fromkeys(check.reason for check in checks):
                reasons.setdefault(reason, []).append(claim.id)
    return reasons


def format_own_settings(record: Record) -> str:
    """Return the settings of `generate()` that are not the library's, with their sources.

    Empty where there are none, or where the claim that finds them was not decided.
    """
    checks = (check for claim in record.claims for check in claim.evidence)
    found = next((used for check in checks if (used := UsedSettings.read(check.values))), None)
    own = [] if found is None else found.list_own()
    if not own:
        return ""
    by_source: dict[str, list[str]] = {}
    for setting in own:
        value = shorten(json.dumps(setting.value, ensure_ascii=False), LONGEST_SETTING)
        by_source.setdefault(setting.source, []).append(f"{setting.name} {value}")
    named = [f"{', '.join(each)} ({name_source(source)})" for source, each in by_source.items()]
    return make_visible(f"generate() on {record.target.name} uses: {'; '.join(named)}")


def format_tokens(record: Record) -> str:
    """Return how many tokens a server was asked for; empty where none computed the target."""
    if record.target.source not in ("endpoint", "gguf"):
        return ""
    requests, tokens = record.cost.forward_passes, record.cost.tokens
    name = make_visible(record.target.name)
    return f"asked of {name}: {tokens:,} tokens, prompts included, in {requests:,} requests"


def format_annotations(record: Record) -> list[str]:
    """Return for each claim that fails a line by which a GitHub job shows it at the pull request.

    A known failure gets none.
    """
    lines = []
    for claim in record.claims:
        if claim.verdict in BROKEN and not claim.known_failure:
            title = f"{claim.id} on {record.target.name}"
            reason = next(iter(claim.reason.strip().splitlines()), "no reason was given")
            title, reason = (_escape_for_job(make_visible(text)) for text in (title, reason))
            title = title.replace(":", "%3A").replace(",", "%2C")
            lines.append(f"::error title={title}::{reason}")
    return lines


def _escape_for_job(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def has_decided(records: Sequence[Record]) -> bool:
    """Return whether any claim was decided, or throughput was measured."""
    return any(record.throughput for record in records) or any(
        claim.verdict not in (*OPEN, Verdict.NOT_APPLICABLE)
        for record in records
        for claim in record.claims
    )


def _headline(record: Record) -> Text:
    counts = count_verdicts(record.claims)
    said = f"claims on {make_visible(record.target.name)}: {format_counts(counts)}"
    return Text(said, style="bold red" if any(counts[each] for each in BROKEN) else "bold")


def _table(record: Record) -> Table:
    all_counts = count_verdicts(record.claims)
    used = [c for c in _COLUMNS if c[1] is Verdict.HOLDS or all_counts[c[1]]]
    table = Table()
    table.add_column("section")
    table.add_column("claims", justify="right")
    for heading, _, style in used:
        table.add_column(heading, justify="right", style=style)
    sections = list(dict.fromkeys(claim.section for claim in record.claims))
    for section in sections:
        claims = [claim for claim in record.claims if claim.section == section]
        table.add_row(Text(make_visible(section)), *_counts(claims, used))
    if len(sections) > 1:
        table.add_section()
        table.add_row("all", *_counts(record.claims, used))
    return table


def _counts(
    claims: Sequence[ClaimRecord], columns: Sequence[tuple[str, Verdict, str]]
) -> list[str]:
    counts = count_verdicts(claims)
    return [str(len(claims)), *(str(counts[verdict] or "·") for _, verdict, _ in columns)]


def _line(claim: ClaimRecord) -> Text:
    word = (claim.verdict or Verdict.NOT_DECIDED).value
    first = claim.reason.strip().splitlines() or ["no reason was given"]
    if claim.known_failure:
        known = f": {claim.id}: {first[0]} ({claim.known_failure})"
        return Text.assemble(("known failure", "yellow"), make_visible(known))
    style = "yellow" if claim.verdict is Verdict.NOT_OBSERVED else "bold red"
    return Text.assemble((word, style), make_visible(f": {claim.id}: {first[0]}"))
