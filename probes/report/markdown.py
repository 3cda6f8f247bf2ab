"""A run, or a comparison of two, as Markdown, for the summary of a continuous-integration job.

Every text from outside is shown character by character: nothing in it is taken for Markdown, HTML,
an address or a mention.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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
from probes.report.evidence import BROKEN
from probes.report.language import phrase
from probes.report.marking import visible
from probes.report.rates import amount, of_limit, rate_name, ratio_figures, spread
from probes.report.words import ORDER, headline, incomplete, loaded_as, verdict_word, versions
from probes.schema.record import ClaimRecord, Record, Verdict, count_verdicts, group_inapplicable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probes.schema.comparison import Comparison, Drift, RateRatio
    from probes.schema.record import Rate

LONGEST = 400
"""Characters of a text; the report has the rest."""


def summary(record: Record, report: str = "") -> str:
    """The run in Markdown: verdict, table by section, and what is wrong with reasons.

    Args:
        record: the run.
        report: where its report lies, as it is to be shown; empty where there is none.
    """
    parts = [
        f"## {literal(record.target.name)}: {headline(count_verdicts(record.claims))}",
        incomplete(record),
        _table(*_sections(record)) if record.claims or not record.throughput else "",
        _broken([claim for claim in record.claims if claim.verdict in BROKEN]),
        *(
            f"Not applicable: {', '.join(map(literal, claims))}: {literal(reason)}"
            for reason, claims in group_inapplicable(record.claims)
        ),
        _rates(record.throughput) if record.throughput else "",
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
    all_counts = count_verdicts(record.claims)
    used = [v for v in ORDER if v is Verdict.HOLDS or all_counts[v]]
    rows = []
    for section in dict.fromkeys(claim.section for claim in record.claims):
        claims = [claim for claim in record.claims if claim.section == section]
        counts = count_verdicts(claims)
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


def _rates(rates: Sequence[Rate]) -> str:
    rows = [
        [
            rate_name(rate),
            amount(rate.per_second, rate.unit),
            spread(rate),
            of_limit(rate.share),
            literal(rate.reason),
        ]
        for rate in rates
    ]
    header = [
        phrase(f"throughput.{name}", "en") for name in ("what", "rate", "range", "share", "why")
    ]
    return f"### {phrase('throughput.heading', 'en')}\n\n" + _table(header, rows)


def _ratios(rates: Sequence[RateRatio]) -> str:
    rows = [
        [
            rate_name(rate),
            amount(rate.old, rate.unit),
            amount(rate.new, rate.unit),
            *ratio_figures(rate.ratio),
        ]
        for rate in rates
    ]
    header = [
        phrase(f"throughput.{name}", "en") for name in ("what", "old", "new", "ratio", "range")
    ]
    return f"### {phrase('throughput.heading', 'en')}\n\n" + _table(header, rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def compared(comparison: Comparison) -> str:
    """A comparison in Markdown: headline, environments, what differs, drift, time."""
    old, new = comparison.old, comparison.new
    target = new.target if old.target == new.target else f"{old.target} → {new.target}"
    parts = [
        f"## {literal(target)}: {compared_headline(comparison)}",
        f"{literal(compared_run(old, 'old'))} · {literal(compared_run(new, 'new'))}",
        _environment(comparison),
        _compared_claims(comparison),
        _drift(comparison.drift) if comparison.drift else "",
        speed_words(comparison.speed) if comparison.speed else "",
        _ratios(comparison.throughput) if comparison.throughput else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _environment(comparison: Comparison) -> str:
    if not comparison.environment:
        return phrase("compare.no_environment", "en")
    rows = [[literal(change.name), literal(change.old), literal(change.new)]
            for change in comparison.environment]  # fmt: skip
    return _table(["", "old", "new"], rows)


def _compared_claims(comparison: Comparison) -> str:
    claims = in_order(comparison)
    if not claims:
        return ""
    rows = []
    for claim in claims:
        said = [
            f"{literal(place(difference))}: {literal(difference_words(difference))}"
            for difference in claim.differences[:TOLD]
        ]
        if claim.new_reason and claim.new_reason != claim.old_reason:
            said.insert(0, literal(claim.new_reason))
        if len(claim.differences) > TOLD:
            said.append(phrase("compare.more", "en", n=len(claim.differences) - TOLD))
        rows.append(
            [literal(claim.id), outcome_word(claim.outcome), turn(claim), "<br>".join(said)]
        )
    return _table(["claim", "outcome", "verdict", "what differs"], rows)


def _drift(drift: Drift) -> str:
    heading = phrase("compare.distributions", "en")
    parts = [f"### {heading}: {outcome_word(drift.outcome)}", *map(literal, drift_words(drift))]
    rows = [
        [phrase(f"compare.{name}", "en"), *estimate_words(name, estimate)]
        for name, estimate in measures(drift)
    ]
    if rows:
        parts.append(_table(["measure", "value", "95 % interval"], rows))
    parts += [f"- {literal(flip_words(flip))}" for flip in drift.flips[:TOLD]]
    return "\n\n".join(parts)
