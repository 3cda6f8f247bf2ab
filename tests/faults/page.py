"""The table of claims and faults as a page and as data for the report.

python -m tests.faults.runner RESULTS.json
python -m tests.faults.page --findings RESULTS.json > tests/faults/findings.json
python -m tests.faults.page > docs/faults.md
python -m tests.faults.page --json > probes/report/html/faults.json

The first two, some minutes together, are for the page's part on what was found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from probes.report.text.markdown import escape as literal
from probes.schema.claim import catalogue
from tests.faults.catalogue import CATALOGUE

UNSEEN = (
    "Draws that differ from their law by less than a test's smallest shift, which its evidence "
    "states: 0.3 % of probability moved from the likeliest token to the others where 2,000,000 are "
    "drawn from 16 tokens, mostly 2 to 4 % elsewhere.",
    "A dropped token drawn about once in 10,000 draws or more rarely: one run may not meet it.",
    "A network that is wrong in every way of computing it, by the same amount, where no recorded "
    "outputs of it lie beside the claims: they compare caches, paddings, attention implementations "
    "and threads with one another, and with what was recorded, not with a second implementation.",
    "Weights changed by so little that no answer changes: that takes a comparison with an earlier "
    "record of the same target.",
)
"""What no claim catches, and why."""

ON_STAND_INS = {
    "default-text": ("another text published", "test_record_faults.py"),
    "embedding-row-0": ("a component of the row 0.1 % larger", "test_embedding_faults.py"),
    "cosine-exceptions": ("dog's row in the place of fish's", "test_embedding_faults.py"),
    "pca-odd-distance": (
        "royalty nearer people than the unrelated words are",
        "test_embedding_faults.py",
    ),
    "bos-recorded": ("another text published", "test_record_faults.py"),
    "stories-recorded": ("other stories told", "test_task_faults.py"),
}
"""Claims about the weights of Mistral-7B: what they were seen red under, on stand-ins for those."""

COMPARED = {
    "again": ("nothing", "the same: rounding explains all that moved"),
    "one-thread": ("one thread in the place of all", "the same: rounding explains all that moved"),
    "noisy-weights": (
        "every weight by about 0.5 %",
        "the distributions drifted, `recorded-texts` newly fails",
    ),
    "bfloat16": (
        "weights in bfloat16 in the place of float32",
        "the distributions drifted, no claim newly fails (`recorded-texts` left out)",
    ),
    "top-p-before-top-k": (
        "top-p before top-k",
        "`filter-order` newly fails, the rest is the same",
    ),
}
"""By a second run's name: what changed since the first, and what comparing the two says."""

FINDINGS_COMMAND = (
    "python -m tests.faults.runner RESULTS.json && "
    "python -m tests.faults.page --findings RESULTS.json > tests/faults/findings.json"
)
FINDINGS = Path(__file__).with_name("findings.json")
"""For each fault what each claim said that failed, when this was last measured."""

LONGEST = 240
"""Most characters of a finding."""

COMMAND = "python -m tests.faults.page > docs/faults.md"
DATA_COMMAND = "python -m tests.faults.page --json > probes/report/html/faults.json"


def page() -> str:
    """The whole page, in Markdown."""
    parts = (_introduction(), _faults(), _claims(), _findings(), _compared(), _unseen())
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def data() -> str:
    """Each fault with what it stands for and the claims it turns red, as JSON."""
    faults = [
        {"name": fault.name, "stands_for": fault.stands_for, "claims": fault.claims}
        for fault in CATALOGUE.values()
    ]
    return json.dumps(faults, indent=1, ensure_ascii=False) + "\n"


def findings(results: Path) -> str:
    """What the runner's results come to: the first failing check of each claim, in a line."""
    verdicts = json.loads(results.read_text(encoding="utf-8"))
    first = {
        fault: {
            claim: short(checks["fails"][0])
            for claim, checks in verdicts[fault].items()
            if "fails" in checks and claim in CATALOGUE[fault].claims
        }
        for fault in CATALOGUE
    }
    return json.dumps(first, indent=1, ensure_ascii=False) + "\n"


def _introduction() -> list[str]:
    return [
        "# What the claims catch",
        "",
        f"<!-- Made by: {COMMAND} -->",
        "",
        f"A claim that nothing can turn red says nothing. `pytest tests/faults` breaks the stack "
        f"under test in {len(CATALOGUE)} ways, one at a time, and sees the claims below fail on "
        "the embedded model; those that need the weights of Mistral-7B fail on stand-ins. No fault "
        "goes unseen; without any the same checks hold. `-rP` shows "
        "what each claim found; `--all-claims` decides all claims under each fault, about a minute "
        "each.",
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
    stand_ins = [
        f"| `{claim}` | {what}, on a stand-in for the weights it needs (tests/faults/{file}) |"
        for claim, (what, file) in ON_STAND_INS.items()
    ]
    return ["## Each claim", "", "| claim | seen red under |", "|---|---|", *rows, *stand_ins]


def _findings() -> list[str]:
    rows = [
        f"| {fault} | `{claim}` | {literal(said.replace('  ', '␣␣'))} |"
        for fault, claims in json.loads(FINDINGS.read_text(encoding="utf-8")).items()
        for claim, said in claims.items()
    ]
    return [
        "## What they find",
        "",
        "What the first failing check of each claim said: how far what it measures had moved. "
        "Steps and positions count from 0. Where two ways of computing are compared, either may "
        "be the wrong one. The last digits vary with the machine.",
        "",
        "| fault | claim | finding |",
        "|---|---|---|",
        *rows,
    ]


def short(reason: str) -> str:
    """The first line of a reason, without the name of its check."""
    line = reason.partition(": ")[2].partition("\n")[0]
    return line if len(line) <= LONGEST else f"{line[:LONGEST].rstrip()} …"


def _compared() -> list[str]:
    rows = [f"| {changed} | {says} |" for changed, says in COMPARED.values()]
    return [
        "## What a comparison says",
        "",
        "Some changes turn few claims red, or none, for want of anything to compare with. Two "
        "records of one target show them, [compared](comparing.md) with each other. Decided here: "
        "`next-token`, `filter-order`, `greedy-argmax`, `greedy-deterministic`, `recorded-texts`.",
        "",
        "| what changed | what is said |",
        "|---|---|",
        *rows,
    ]


def _unseen() -> list[str]:
    return ["## What is not caught", "", *(f"- {line}" for line in UNSEEN)]


def _listed(claims: tuple[str, ...]) -> str:
    return ", ".join(f"`{claim}`" for claim in claims)


def main(*arguments: str) -> None:
    """Print what is asked for."""
    match arguments:
        case ("--findings", results):
            print(findings(Path(results)), end="")
        case ("--json",):
            print(data(), end="")
        case ():
            print(page(), end="")
        case _:
            sys.exit(f"no arguments, --json or --findings RESULTS.json, not {arguments}")


if __name__ == "__main__":
    main(*sys.argv[1:])
