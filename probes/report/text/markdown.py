"""A run, or a comparison of two, as Markdown, for the summary of a continuous-integration job.

Every text from outside is shown character by character: nothing in it is taken for Markdown, HTML,
an address or a mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from probes.report.locale import phrase
from probes.report.text import comparison as compared
from probes.report.text import phrases
from probes.report.text.quantization import format_cells, format_header
from probes.report.visible import cut, make_visible
from probes.schema.comparison import Comparison, Drift
from probes.schema.record import (
    BROKEN,
    ClaimRecord,
    Rate,
    Record,
    Verdict,
    count_verdicts,
    group_by_reason,
)

Rows = Sequence[Iterable[str]]

LONGEST = 400
"""Characters of a text; the report has the rest."""


def escape(text: str) -> str:
    r"""Return a text as Markdown shows it: one line, character by character.

    >>> escape("<s> and ▁, a|b\n@all see www.example.com")
    '\\<s\\> and ▁, a\\|b↵ \\@all see www\\.example.com'
    """
    line = " ".join(make_visible(text).replace("↵", "↵ ").split())
    return re.sub(
        r"([\\`*_{}\[\]<>|~#$@&!]|:(?=\S)|(?<=www)\.)",
        r"\\\1",
        cut(line, LONGEST),
        flags=re.IGNORECASE,
    )


def _table(header: Sequence[str], rows: Rows) -> str:
    """Return a table; empty without rows."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) if rows else ""


def _headed(heading: str, header: Sequence[str], rows: Rows) -> str:
    return f"### {heading}\n\n{_table(header, rows)}" if rows else ""


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
            _sections(record),
            _broken([claim for claim in record.claims if claim.verdict in BROKEN]),
            *(
                f"Not observed: {escape(claim.id)}: {escape(claim.reason)}"
                for claim in record.claims
                if claim.verdict is Verdict.NOT_OBSERVED
            ),
            *(
                f"{phrases.format_verdict(verdict).capitalize()}: "
                f"{', '.join(map(escape, claims))}: {escape(reason)}"
                for verdict in (Verdict.NOT_DECIDED, Verdict.NOT_APPLICABLE)
                for reason, claims in group_by_reason(record.claims, verdict)
            ),
            _rates(record.throughput),
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
    used = [v for v in Verdict if v is Verdict.HOLDS or all_counts[v]]
    rows = []
    for section in dict.fromkeys(claim.section for claim in record.claims):
        claims = [claim for claim in record.claims if claim.section == section]
        counts = count_verdicts(claims)
        numbers = (len(claims), *(counts[verdict] for verdict in used))
        rows.append([escape(section), *(str(number or "·") for number in numbers)])
    return _table(["section", "claims", *map(phrases.format_verdict, used)], rows)


def _found(claim: ClaimRecord) -> str:
    known = f" (known failure: {escape(claim.known_failure)})" if claim.known_failure else ""
    return escape(claim.reason) + known


def _broken(claims: Sequence[ClaimRecord]) -> str:
    rows = [
        (escape(c.id), phrases.format_verdict(c.verdict), escape(c.title), _found(c))
        for c in claims
    ]
    return _headed("What is wrong", ["claim", "verdict", "stated", "found"], rows)


def _rates(rates: Iterable[Rate]) -> str:
    rows = [
        (
            escape(phrases.format_rate_name(rate)),
            phrases.format_rate(rate.per_second, rate.unit),
            phrases.format_rate_range(rate),
            phrases.format_limit_share(rate.share),
            escape(rate.reason),
        )
        for rate in rates
    ]
    return _throughput(["what", "rate", "range", "share", "why"], rows)


def _throughput(columns: Iterable[str], rows: Rows) -> str:
    header = [phrase(f"throughput.{name}") for name in columns]
    return _headed(phrase("throughput.heading"), header, rows)


# --- a comparison --------------------------------------------------------------------------------


def summarize_comparison(comparison: Comparison) -> str:
    """Return a comparison in Markdown: headline, environments, what differs, drift, speed."""
    old, new = comparison.old, comparison.new
    target = new.target if old.target == new.target else f"{old.target} → {new.target}"
    runs = [compared.format_run(old, "old"), compared.format_run(new, "new")]
    environment = [(escape(c.name), escape(c.old), escape(c.new)) for c in comparison.environment]
    claims = [
        (
            escape(claim.id),
            compared.format_outcome(claim.outcome),
            compared.format_verdicts(claim),
            "<br>".join(map(escape, compared.describe_claim(claim))),
        )
        for claim in compared.list_changed_claims(comparison)
    ]
    ratios = [map(escape, compared.list_ratio(rate).values()) for rate in comparison.throughput]
    return _join(
        [
            f"## {escape(target)}: {compared.format_outcomes(comparison)}",
            " · ".join(map(escape, runs)),
            _table(["", "old", "new"], environment) or phrase("compare.no_environment"),
            _table(["claim", "outcome", "verdict", "what differs"], claims),
            *(_drift(comparison.drift) if comparison.drift else []),
            compared.describe_speed(comparison.speed) if comparison.speed else "",
            _throughput(["what", "old", "new", "ratio", "range"], ratios),
            _headed(
                phrase("compare.quantizations"),
                format_header(),
                [map(escape, format_cells(cost)) for cost in comparison.quantizations],
            ),
        ]
    )


def _drift(drift: Drift) -> list[str]:
    rows = [
        (phrase(f"compare.{name}"), value, interval)
        for name, value, interval in compared.list_drift_measures(drift)
    ]
    return [
        f"### {phrase('compare.distributions')}: {compared.format_outcome(drift.outcome)}",
        *map(escape, compared.describe_drift(drift)),
        _table(["measure", "value", "95 % interval"], rows),
        *(f"- {escape(compared.describe_flip(f))}" for f in drift.flips[: compared.MOST_LINES]),
    ]
