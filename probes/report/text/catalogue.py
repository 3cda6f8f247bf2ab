"""Write the catalogue of claims as a page: `docs/claims.md`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from probes.schema.claim import NEEDS, Claim, Status, catalogue

COMMAND = "python -m probes claims --markdown > docs/claims.md"
"""The command that regenerates the page."""

_STATUS = {
    Status.AS_PUBLISHED: "the published experiment makes the same statement",
    Status.REFINED: "the published text is imprecise; the correction is below the table",
    Status.OURS: "not in the published experiment",
}


def catalogue_page(claims: Iterable[Claim] | None = None) -> str:
    """Return the page as Markdown; of the built-in claims by default.

    >>> catalogue_page().splitlines()[0]
    '# The claims'
    """
    claims = tuple(catalogue().values() if claims is None else claims)
    parts = [_introduction(claims)]
    for section, members in groupby(claims, key=lambda claim: claim.section):
        parts.append(_section(section, list(members)))
    return "\n\n".join(parts) + "\n"


def catalogue_list(claims: Iterable[Claim] | None = None) -> str:
    """Return ids and statements by section, as plain text.

    >>> print(catalogue_list()[:34])
    Loading and the default generation
    """
    claims = tuple(catalogue().values() if claims is None else claims)
    lines: list[str] = []
    for section, members in groupby(claims, key=lambda claim: claim.section):
        lines += ["", section, *(f"  {claim.id}: {claim.title}" for claim in members)]
    return "\n".join(lines[1:]) + "\n"


def _introduction(claims: tuple[Claim, ...]) -> str:
    statuses = [status for status in Status if any(claim.status is status for claim in claims)]
    return "\n".join(
        [
            "# The claims",
            "",
            f"<!-- Made by: {COMMAND} -->",
            "",
            f"The suite decides {len(claims)} claims. Each has an id: `probes run --claim ID` "
            "decides one claim. Most come from a published experiment on Mistral-7B-v0.1, "
            "loaded in 4 bits; the column *published* shows the relation to its text:",
            "",
            *(f"- *{status.value}*: {_STATUS[status]}." for status in statuses),
            "",
            "A *contract* binds every target. An *observation* is about particular weights: it is "
            "measured on every target, and must hold on those that "
            "[expect it](targets.md#what-a-target-expects).",
            "",
            "*Needs* lists the requirements on a target. If a target lacks one, the claim is *not "
            "applicable*, with the reason; it never counts as passed.",
            "",
            "| need | requirement |",
            "|---|---|",
            *(f"| `{need}` | {words} |" for need, words in NEEDS.items()),
        ]
    )


def _section(title: str, claims: list[Claim]) -> str:
    lines = [f"## {_escaped(title)}", "", "| claim | kind | statement | needs | published |"]
    lines.append("|---|---|---|---|---|")
    for claim in claims:
        needs = ", ".join(f"`{need}`" for need in claim.needs)
        cells = (f"`{claim.id}`", claim.kind.value, _escaped(claim.title), needs)
        lines.append(f"| {' | '.join(cells)} | {claim.status.value} |")
    differing = [claim for claim in claims if claim.differs]
    if differing:
        lines += ["", "Corrections of the published text:", ""]
        lines += [f"- `{claim.id}`: {_escaped(claim.differs)}" for claim in differing]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    r"""Escape a text so that Markdown shows each of its characters."""
    return re.sub(r"([\\`*<>|\[\]])", r"\\\1", text)
