"""The table of claims and faults as a page and as data for the report.

python -m tests.controls.page > docs/faults.md
python -m tests.controls.page --json > probes/report/faults.json
"""

from __future__ import annotations

import json
import sys

from probes.claims import catalogue
from tests.controls.faults import CATALOGUE, UNSEEN

COMMAND = "python -m tests.controls.page > docs/faults.md"
DATA_COMMAND = "python -m tests.controls.page --json > probes/report/faults.json"


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([*_introduction(), "", *_faults(), "", *_claims(), "", *_unseen()]) + "\n"


def data() -> str:
    """Each fault with what it stands for and the claims it turns red, as JSON."""
    faults = [
        {"name": fault.name, "stands_for": fault.stands_for, "claims": fault.claims}
        for fault in CATALOGUE.values()
    ]
    return json.dumps(faults, indent=1, ensure_ascii=False) + "\n"


def _introduction() -> list[str]:
    return [
        "# What the claims catch",
        "",
        f"<!-- Made by: {COMMAND} -->",
        "",
        f"A claim that nothing can turn red says nothing. `pytest tests/controls` breaks the stack "
        f"under test in {len(CATALOGUE)} ways, one at a time, and sees the claims below fail on "
        "the embedded model; without any fault the same checks hold. `-v` shows what each claim "
        "found; `--all-claims` decides all claims under each fault, about a minute each.",
    ]


def _faults() -> list[str]:
    rows = [
        f"| {fault.name} | {fault.stands_for} | {_listed(fault.claims)} |"
        for fault in CATALOGUE.values()
    ]
    return ["## Each fault", "", "| fault | stands for | turns red |", "|---|---|---|", *rows]


def _claims() -> list[str]:
    by_claim = {
        claim: [fault.name for fault in CATALOGUE.values() if claim in fault.claims]
        for claim in catalogue()
    }
    rows = [f"| `{claim}` | {', '.join(names)} |" for claim, names in by_claim.items() if names]
    return ["## Each claim", "", "| claim | seen red under |", "|---|---|", *rows]


def _unseen() -> list[str]:
    return ["## What is not caught", "", *(f"- {line}" for line in UNSEEN)]


def _listed(claims: tuple[str, ...]) -> str:
    return ", ".join(f"`{claim}`" for claim in claims)


if __name__ == "__main__":
    print(data() if sys.argv[1:] == ["--json"] else page(), end="")
