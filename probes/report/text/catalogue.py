"""Write the catalogue of claims as a page: `docs/claims.md`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from probes.schema.claim import NEEDS, Claim, Kind, Status, catalogue

COMMAND = "python -m probes claims --markdown > docs/claims.md"
"""The command that regenerates the page."""

_MARKS = {Status.AS_PUBLISHED: "published", Status.REFINED: "refined"}

_COMES_WITH = {
    "logits": ("model",),
    "token-ids": ("model",),
    "weights": ("model", "config", "token-ids", "logits"),
    "variants": ("model", "config", "token-ids", "logits", "weights"),
    "processors": ("model", "token-ids", "logits"),
    "beam-search": ("model", "token-ids", "logits"),
    **dict.fromkeys(("chat", "bos", "sentencepiece", "mistral-tokenizer"), ("tokenizer",)),
}
"""The needs that another one brings along, so that a claim's shortest list says as much."""


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
    return "\n".join(
        [
            "# The claims",
            "",
            f"<!-- Made by: {COMMAND} -->",
            "",
            f"`probes run --claim ID` decides one of these {len(claims)} claims. Each is a "
            "contract, which binds every target, unless it is marked as an *observation*: that is "
            "about particular weights, and must hold on targets that "
            "[expect it](targets.md#what-a-target-expects). A *published* claim is in the "
            "experiment on Mistral-7B-v0.1, loaded in 4 bits, that the suite began with; of one "
            "that is *refined*, the correction is below the table.",
            "",
            "Where a target lacks a need, the claim is *not applicable*. Needs that come with "
            "another one are left out: who offers `weights` offers `logits`, too.",
            "",
            "| need | requirement |",
            "|---|---|",
            *(f"| `{need}` | {words} |" for need, words in NEEDS.items()),
        ]
    )


def _section(title: str, claims: list[Claim]) -> str:
    lines = [f"## {_escaped(title)}", "", "| claim | statement | needs |", "|---|---|---|"]
    for claim in claims:
        cells = (f"`{claim.id}`", _escaped(claim.title) + _list_marks(claim), _list_needs(claim))
        lines.append(f"| {' | '.join(cells)} |")
    differing = [claim for claim in claims if claim.differs]
    if differing:
        lines += ["", "Corrections of the published text:", ""]
        lines += [f"- `{claim.id}`: {_escaped(claim.differs)}" for claim in differing]
    return "\n".join(lines)


def _list_marks(claim: Claim) -> str:
    marks = [claim.kind.value] if claim.kind is Kind.OBSERVATION else []
    marks += [_MARKS[claim.status]] if claim.status in _MARKS else []
    return f" *({', '.join(marks)})*" if marks else ""


def _list_needs(claim: Claim) -> str:
    along = {each for need in claim.needs for each in _COMES_WITH.get(need, ())}
    return ", ".join(f"`{need}`" for need in claim.needs if need not in along)


def _escaped(text: str) -> str:
    r"""Escape a text so that Markdown shows each of its characters."""
    return re.sub(r"([\\`*<>|\[\]])", r"\\\1", text)
