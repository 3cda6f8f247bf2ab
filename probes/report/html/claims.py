"""The claims' texts on a page, in every language: statements, introductions, methods.

English statements are in the catalogue, those of other languages and all else in `locale/`. A
record's own words are never translated: a statement that is not the catalogue's present one is
shown unchanged in every language.
"""

from __future__ import annotations

from typing import Literal

from markupsafe import Markup

from probes.report.locale import texts
from probes.report.locale.markup import in_every_language, say
from probes.report.visible import mark
from probes.schema.claim import catalogue
from probes.schema.comparison import ClaimComparison
from probes.schema.record import ClaimRecord, Record

MOST_DEAREST = 10
"""Claims whose cost is in the table at the end."""


def statement(
    claim: ClaimRecord | ClaimComparison, part: Literal["title", "differs"] = "title"
) -> Markup:
    """Return what a claim states, or how that differs from the published text."""
    text = getattr(claim, part)
    known = catalogue().get(claim.id)
    if known is None or getattr(known, part) != text:
        return mark(text)
    return _translate(f"{part}.{claim.id}", text)


def heading(section: str) -> Markup:
    """Return a section's title.

    >>> print(heading("Tasks"))
    <span lang="en">Tasks</span><span lang="ja">タスク</span>
    """
    return _translate(f"section.{section}", section)


def _translate(key: str, english: str) -> Markup:
    return in_every_language(lambda code: mark(texts(code).get(key, english)))


def introduction(section: str) -> Markup | None:
    """Return what a learner should know before a section; None for a section that is not ours."""
    key = f"introduction.{section}"
    return say(key) if key in texts("en") else None


def list_dearest(record: Record) -> list[ClaimRecord]:
    """Return the claims that took most of the time, the dearest first; none of a single claim."""
    claims = sorted(record.claims, key=lambda claim: claim.cost.seconds, reverse=True)
    dear = [claim for claim in claims if claim.cost.seconds > 0]
    return dear[:MOST_DEAREST] if len(dear) > 1 else []


def method(claim: ClaimRecord) -> Markup | None:
    """Return how a claim is decided, in a line; None for a claim that is not ours."""
    return say(f"method.{claim.id}") if claim.id in catalogue() else None
