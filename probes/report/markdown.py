"""A run as a page of Markdown, for the summary of a continuous-integration job.

Every text from outside is shown character by character: nothing in it is taken for Markdown, HTML,
an address or a mention.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from probes.record import ClaimRecord, Record, Verdict, inapplicable, tally
from probes.report.evidence import BROKEN
from probes.report.marking import visible
from probes.report.words import ORDER, headline, incomplete, loaded_as, verdict_word, versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST = 400
"""Characters of a text; the report has the rest."""


def summary(record: Record, report: str = "") -> str:
    """The run in Markdown: verdict, table by section, and what is wrong with reasons.

    Args:
        record: the run.
        report: where its report lies, as it is to be shown; empty where there is none.
    """
    parts = [
        f"## {literal(record.target.name)}: {headline(tally(record.claims))}",
        incomplete(record),
        _table(*_sections(record)),
        _broken([claim for claim in record.claims if claim.verdict in BROKEN]),
        *(
            f"Not applicable: {', '.join(map(literal, claims))}: {literal(reason)}"
            for reason, claims in inapplicable(record.claims)
        ),
        f"Tested: {' · '.join(_tested(record))}",
        f"Report: {literal(report)}" if report else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def literal(text: str) -> str:
    r"""A text as Markdown shows it: one line, character by character.

    >>> literal("<s> and ▁, a|b\n@all see www.example.com")
    '\\<s\\> and ▁, a\\|b↵ \\@all see www\\.example.com'
    """
    line = " ".join(visible(text).replace("↵", "↵ ").split())
    short = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    return re.sub(
        r"([\\`*_{}\[\]<>|~#$@&!]|:(?=\S)|(?<=www)\.)", r"\\\1", short, flags=re.IGNORECASE
    )


def _tested(record: Record) -> list[str]:
    """What was tested, and with what."""
    environment = record.environment
    facts = (
        record.target.architecture,
        loaded_as(record.target),
        versions(environment),
        f"Python {environment.python}",
        environment.accelerator or environment.platform,
    )
    return [literal(fact) for fact in facts if fact]


def _sections(record: Record) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: how many claims of a section came to each verdict."""
    all_counts = tally(record.claims)
    used = [v for v in ORDER if v is Verdict.HOLDS or all_counts[v]]
    rows = []
    for section in dict.fromkeys(claim.section for claim in record.claims):
        claims = [claim for claim in record.claims if claim.section == section]
        counts = tally(claims)
        numbers = (len(claims), *(counts[verdict] for verdict in used))
        rows.append([literal(section), *(str(number or "·") for number in numbers)])
    return ["section", "claims", *map(verdict_word, used)], rows


def _broken(claims: Sequence[ClaimRecord]) -> str:
    if not claims:
        return ""
    rows = [
        [
            literal(claim.id),
            verdict_word(claim.verdict),
            literal(claim.title),
            literal(claim.reason),
        ]
        for claim in claims
    ]
    return "### What is wrong\n\n" + _table(["claim", "verdict", "stated", "found"], rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
