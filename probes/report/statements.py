"""The catalogue's claims in the page's languages: statements, introductions, methods.

English statements stand in `claims.toml` of the package, those of other languages and all else in
`texts/LANGUAGE/claims.toml`. A record's own words are never translated: where a record states a
claim otherwise than the catalogue does now, its words stand in every language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from probes.report.language import LANGUAGES, beside, texts
from probes.report.marking import mark
from probes.schema.claim import catalogue

if TYPE_CHECKING:
    from markupsafe import Markup

    from probes.schema.comparison import ClaimComparison
    from probes.schema.record import ClaimRecord

OWN = "en"
"""The language of the catalogue and of records."""


def statement(
    claim: ClaimRecord | ClaimComparison, part: Literal["title", "differs"] = "title"
) -> Markup:
    """What a claim states, or how that differs from the published text."""
    text = getattr(claim, part)
    known = catalogue().get(claim.id)
    if known is None or getattr(known, part) != text:
        return mark(text)
    return _beside(f"{part}.{claim.id}", text)


def heading(section: str) -> Markup:
    """A section's title.

    >>> print(heading("Tasks"))
    <span lang="en"><bdi>Tasks</bdi></span><span lang="ja"><bdi>タスク</bdi></span>
    """
    return _beside(f"section.{section}", section)


def introduction(section: str) -> Markup | None:
    """What a learner should know before a section; None for a section that is not ours."""
    return _said(f"introduction.{section}")


def method(claim: ClaimRecord) -> Markup | None:
    """How a claim is decided, in a line; None for a claim that is not ours."""
    return _said(f"method.{claim.id}") if claim.id in catalogue() else None


def _beside(key: str, text: str) -> Markup:
    return beside(
        {code: mark(text if code == OWN else texts(code).get(key, text)) for code in LANGUAGES}
    )


def _said(key: str) -> Markup | None:
    if key not in texts(OWN):
        return None
    return beside({code: texts(code)[key] for code in LANGUAGES})
