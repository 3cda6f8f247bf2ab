"""A run, or a comparison of two, as Markdown, for the summary of a continuous-integration job.

Every text from outside is shown character by character: nothing in it is taken for Markdown, HTML,
an address or a mention.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from probes.report.locale import phrase
from probes.report.text import comparison as compared
from probes.report.text import phrases
from probes.report.visible import make_visible
from probes.schema.record import BROKEN, Record, Verdict, count_verdicts, group_inapplicable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probes.schema.comparison import Comparison, Drift, RateRatio
    from probes.schema.record import ClaimRecord, Rate

LONGEST = 400
"""Characters of a text; the report has the rest."""


def escape(text: str) -> str:
    r"""Return a text as Markdown shows it: one line, character by character.

    >>> escape("<s> and ▁, a|b\n@all see www.example.com")
    '\\<s\\> and ▁, a\\|b↵ \\@all see www\\.example.com'
    """
    line = " ".join(make_visible(text).replace("↵", "↵ ").split())
    short = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    return re.sub(
        r"([\\`*_{}\[\]<>|~#$@&!]|:(?=\S)|(?<=www)\.)", r"\\\1", short, flags=re.IGNORECASE
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _join(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


# --- a run ---------------------------------------------------------------------------------------


def summarize_run(record: Record, report: str = "") -> str:
    """Return a run in Markdown: verdict, a table by section, and what is wrong with reasons.

    `report` is the path of its report as shown; empty if there is none.
    """
    headline = phrases.format_headline(count_verdicts(record.claims))
    return _join(
        [
            f"## {escape(record.target.name)}: {headline}",
            phrases.format_incomplete(record),
            _sections(record) if record.claims or not record.throughput else "",
            _broken([claim for claim in record.claims if claim.verdict in BROKEN]),
            *(
                f"Not applicable: {', '.join(map(escape, claims))}: {escape(reason)}"
                for reason, claims in group_inapplicable(record.claims)
            ),
            _rates(record.throughput) if record.throughput else "",
            f"Tested: {' · '.join(_tested(record))}",
            f"Report: {escape(report)}" if report else "",
        ]
    )


def _tested(record: Record) -> list[str]:
    environment = record.environment
    facts = (
        record.target.architecture,
        phrases.format_loading(record.target),
        phrases.format_versions(environment),
        f"Python {environment.python}",
        environment.accelerator or environment.platform,
    )
    return [escape(fact) for fact in facts if fact]


def _sections(record: Record) -> str:
    """Return a table of how many claims of each section have each verdict."""
    all_counts = count_verdicts(record.claims)
    used = [v for v in phrases.ORDER if v is Verdict.HOLDS or all_counts[v]]
    rows = []
    for section in dict.fromkeys(claim.section for claim in record.claims):
        claims = [claim for claim in record.claims if claim.section == section]
        counts = count_verdicts(claims)
        numbers = (len(claims), *(counts[verdict] for verdict in used))
        rows.append([escape(section), *(str(number or "·") for number in numbers)])
    return _table(["section", "claims", *map(phrases.format_verdict, used)], rows)


def _broken(claims: Sequence[ClaimRecord]) -> str:
    if not claims:
        return ""
    rows = [
        [
            escape(claim.id),
            phrases.format_verdict(claim.verdict),
            escape(claim.title),
            escape(claim.reason),
        ]
        for claim in claims
    ]
    return "### What is wrong\n\n" + _table(["claim", "verdict", "stated", "found"], rows)


def _rates(rates: Iterable[Rate]) -> str:
    rows = [
        [
            escape(phrases.format_rate_name(rate)),
            phrases.format_rate(rate.per_second, rate.unit),
            phrases.format_rate_range(rate),
            phrases.format_limit_share(rate.share),
            escape(rate.reason),
        ]
        for rate in rates
    ]
    return _throughput(["what", "rate", "range", "share", "why"], rows)


def _throughput(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    header = [phrase(f"throughput.{name}") for name in columns]
    return f"### {phrase('throughput.heading')}\n\n" + _table(header, rows)


# --- a comparison --------------------------------------------------------------------------------


def summarize_comparison(comparison: Comparison) -> str:
    """Return a comparison in Markdown: headline, environments, what differs, drift, speed."""
    old, new = comparison.old, comparison.new
    target = new.target if old.target == new.target else f"{old.target} → {new.target}"
    runs = [compared.format_run(old, "old"), compared.format_run(new, "new")]
    return _join(
        [
            f"## {escape(target)}: {compared.format_outcomes(comparison)}",
            " · ".join(map(escape, runs)),
            _environment(comparison),
            _claims(comparison),
            _drift(comparison.drift) if comparison.drift else "",
            compared.describe_speed(comparison.speed) if comparison.speed else "",
            _ratios(comparison.throughput) if comparison.throughput else "",
        ]
    )


def _environment(comparison: Comparison) -> str:
    if not comparison.environment:
        return phrase("compare.no_environment")
    rows = [
        [escape(change.name), escape(change.old), escape(change.new)]
        for change in comparison.environment
    ]
    return _table(["", "old", "new"], rows)


def _claims(comparison: Comparison) -> str:
    rows = [
        [
            escape(claim.id),
            compared.format_outcome(claim.outcome),
            compared.format_verdicts(claim),
            "<br>".join(map(escape, compared.describe_claim(claim))),
        ]
        for claim in compared.list_changed_claims(comparison)
    ]
    return _table(["claim", "outcome", "verdict", "what differs"], rows) if rows else ""


def _drift(drift: Drift) -> str:
    title = f"### {phrase('compare.distributions')}: {compared.format_outcome(drift.outcome)}"
    rows = [
        [phrase(f"compare.{name}"), value, interval]
        for name, value, interval in compared.list_drift_measures(drift)
    ]
    return _join(
        [
            title,
            *map(escape, compared.describe_drift(drift)),
            _table(["measure", "value", "95 % interval"], rows) if rows else "",
            *(f"- {escape(compared.describe_flip(f))}" for f in drift.flips[: compared.MOST_LINES]),
        ]
    ).rstrip("\n")


def _ratios(rates: Iterable[RateRatio]) -> str:
    rows = [
        [
            escape(phrases.format_rate_name(rate)),
            phrases.format_rate(rate.old, rate.unit),
            phrases.format_rate(rate.new, rate.unit),
            *phrases.format_ratio(rate.ratio),
        ]
        for rate in rates
    ]
    return _throughput(["what", "old", "new", "ratio", "range"], rows)
