"""What changed since the last run, as one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from probes.report.locale import phrase
from probes.report.text import phrases
from probes.report.text.comparison import format_outcome, list_changed_claims
from probes.schema.comparison import Change, ClaimComparison, Comparison, Outcome
from probes.schema.record import OPEN

MOST_NAMES = 5
"""Claims of one kind that are named."""

MOST_FACTS = 3
"""Differences of target and environment that are named."""

FIRST_FACTS = ("package transformers", "package torch", "package tokenizers")


def has_changed(comparison: Comparison) -> bool:
    """Return whether a claim that both runs decided, or the distributions, changed."""
    return bool(_list_changes(comparison, "en"))


def describe_since(comparison: Comparison, language: str = "en") -> str:
    """Return what changed since the old run, and between which versions, as one sentence."""
    changes = _list_changes(comparison, language)
    undecided = {
        "then": sum(claim.old in OPEN for claim in comparison.claims),
        "now": sum(claim.new in OPEN and claim.old not in OPEN for claim in comparison.claims),
    }
    changes += [
        phrase(f"since.undecided_{when}", language, n=f"{n:,}")
        for when, n in undecided.items()
        if n
    ]
    if same := sum(_is_same(claim) for claim in comparison.claims):
        changes.append(phrase("since.same", language, n=f"{same:,}"))
    when = phrases.format_time(comparison.old.started, language)
    if facts := _describe_facts(comparison.environment, language):
        when = phrase("since.when", language, when=when, facts=facts)
    key = "since.changed" if has_changed(comparison) else "since.nothing"
    return phrase(key, language, when=when, said=phrase("since.joint", language).join(changes))


def _list_changes(comparison: Comparison, language: str) -> list[str]:
    """Return the changes, what needs attention first; other verdicts claim by claim."""
    decided = [
        claim
        for claim in list_changed_claims(comparison)
        if claim.old not in OPEN and claim.new not in OPEN
    ]
    moved = [claim for claim in decided if claim.old is not claim.new]
    parts = [_describe_move(claim, language) for claim in moved[:MOST_NAMES]]
    if len(moved) > MOST_NAMES:
        parts.append(phrase("since.more_verdicts", language, n=len(moved) - MOST_NAMES))
    for outcome in (Outcome.CHANGED, Outcome.DRIFTED, Outcome.NOT_COMPARABLE):
        ids = [c.id for c in decided if c.outcome is outcome and c.old is c.new]
        if ids:
            said = format_outcome(outcome, language)
            named = _name_first(ids, MOST_NAMES, language)
            parts.append(phrase("since.outcome", language, n=len(ids), outcome=said, ids=named))
    if comparison.drift and comparison.drift.outcome in (Outcome.CHANGED, Outcome.DRIFTED):
        said = format_outcome(comparison.drift.outcome, language)
        parts.append(phrase("since.distributions", language, outcome=said))
    return parts


def _is_same(claim: ClaimComparison) -> bool:
    return claim.outcome is Outcome.SAME and not claim.near_the_line and claim.old not in OPEN


def _describe_move(claim: ClaimComparison, language: str) -> str:
    old, new = (phrases.format_verdict(each, language) for each in (claim.old, claim.new))
    said = phrase("since.verdicts", language, id=claim.id, old=old, new=new)
    return phrase("compare.near", language, said=said) if claim.near_the_line else said


def _describe_facts(changes: Iterable[Change], language: str) -> str:
    """Return which versions and facts differ, those of the libraries first."""
    by_name = {change.name: change for change in changes}
    names = [*filter(by_name.__contains__, FIRST_FACTS), *by_name]
    facts = [
        phrase(
            "since.fact",
            language,
            name=name.removeprefix("package "),
            old=_name_value(by_name[name].old, language),
            new=_name_value(by_name[name].new, language),
        )
        for name in dict.fromkeys(names)
    ]
    return _name_first(facts, MOST_FACTS, language)


def _name_value(value: str, language: str) -> str:
    return phrase("compare.absent", language) if value == "absent" else value


def _name_first(names: Sequence[str], most: int, language: str) -> str:
    named = phrase("compare.joint", language).join(names[:most])
    if len(names) <= most:
        return named
    return phrase("since.more", language, named=named, n=len(names) - most)
