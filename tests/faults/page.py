"""The table of claims and faults as a page and as data for the report.

python -m tests.faults.runner RESULTS.json
python -m tests.faults.page --findings RESULTS.json > tests/faults/findings.json
python -m tests.faults.page > docs/faults.md
python -m tests.faults.page --json > probes/report/html/faults.json

The first two commands (some minutes) write down the message of each claim under each fault.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.faults.catalogue import CATALOGUE

UNSEEN = (
    "Draws that differ from their distribution by less than the evidence says a test detects: "
    "0.3 % of probability moved from the most likely token in 2,000,000 draws from 16 tokens, "
    "mostly 2 to 4 % in other tests.",
    "A dropped token drawn about once in 10,000 draws or more rarely.",
    "A network that is wrong by the same amount in every way of computing it, if there are no "
    "recorded outputs: no second implementation is compared.",
    "Weights changed by so little that no answer changes: compare with an earlier record of the "
    "same target to see it.",
)
"""Faults that no claim catches, with the reason."""

ON_STAND_INS = {
    "default-text": "a different published text",
    "embedding-row-0": "a component of the row 0.1 % larger",
    "cosine-exceptions": "dog's row instead of fish's",
    "pca-odd-distance": "royalty closer to people than the unrelated words are",
    "bos-recorded": "a different published text",
    "stories-recorded": "different stories",
}
"""For each claim about the weights of Mistral-7B: the fault on stand-in weights."""

ON_A_SERVER = {
    "engine-ids": "BOS that the server leaves out, or doubles in a chat; no chat template",
    "engine-logprobs": "a second BOS; log-probabilities at another temperature; another model; a "
    "second replica at another temperature",
    "engine-distance": "another model",
    "engine-greedy": "one token of every fifth text changed; an unasked repetition penalty",
    "engine-sampling": "a temperature applied twice, or ignored; top_k 40; a repetition penalty",
    "engine-stops": "a stop string kept, or ignored; one token too many; the wrong reason",
    "engine-streams": "a stream that drops its last part, splits a character, or does not end",
    "engine-power": "texts of one token",
}
"""For each claim about engines: what a server of the embedded model does wrong."""

COMPARED = {
    "again": ("nothing", "the same: rounding explains all changes"),
    "other-threads": ("the number of threads", "the same: rounding explains all changes"),
    "noisy-weights": (
        "every weight by about 0.5 %",
        "the distributions drifted, `recorded-texts` newly fails",
    ),
    "bfloat16": (
        "weights in bfloat16 instead of float32",
        "the distributions drifted, no claim newly fails (without `recorded-texts`)",
    ),
    "top-p-before-top-k": (
        "top-p applied before top-k",
        "`filter-order` newly fails, the rest is the same",
    ),
}
"""For each second run: the change since the first run, and the result of the comparison."""

FINDINGS_COMMAND = (
    "python -m tests.faults.runner RESULTS.json && "
    "python -m tests.faults.page --findings RESULTS.json > tests/faults/findings.json"
)
FINDINGS = Path(__file__).with_name("findings.json")
"""The last measured message of each failing claim under each fault."""

LONGEST = 240
"""Most characters of a finding."""

COMMAND = "python -m tests.faults.page > docs/faults.md"
DATA_COMMAND = "python -m tests.faults.page --json > probes/report/html/faults.json"


def page() -> str:
    parts = (_introduction(), _faults(), _elsewhere(), _compared(), _unseen())
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def data() -> str:
    """Return the faults as JSON: name, real case, and the claims that fail."""
    faults = [
        {"name": fault.name, "stands_for": fault.stands_for, "claims": fault.claims}
        for fault in CATALOGUE.values()
    ]
    return json.dumps(faults, indent=1, ensure_ascii=False) + "\n"


def findings(results: Path) -> str:
    """Return, as JSON, the first failing check of each claim in the runner's results."""
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
        f"A claim that cannot fail shows nothing. `pytest tests/faults --all-faults` breaks the "
        f"stack under test in {len(CATALOGUE)} ways, one at a time, and checks that the claims "
        "below fail on the embedded model; without a fault the same checks hold. Without "
        "`--all-faults` each claim is decided under one fault. The last measured message of each "
        "claim under each fault is in "
        "[tests/faults/findings.json](../tests/faults/findings.json).",
    ]


def _faults() -> list[str]:
    failing: dict[tuple[str, ...], list[str]] = {}
    for fault in CATALOGUE.values():
        failing.setdefault(tuple(fault.claims), []).append(fault.stands_for.replace("<", r"\<"))
    rows = [f"| {_listed(claims)} | {'; '.join(faults)} |" for claims, faults in failing.items()]
    return ["## Each fault", "", "| claims that fail | with |", "|---|---|", *rows]


def _elsewhere() -> list[str]:
    rows = [f"| `{claim}` | {what} |" for claim, what in (ON_STAND_INS | ON_A_SERVER).items()]
    return [
        "## On stand-in weights and on servers",
        "",
        "Claims about the weights of Mistral-7B fail on stand-in weights, those about engines on "
        "[a server](../tests/engines/test_stub_server.py) that does it wrong:",
        "",
        "| claim that fails | with |",
        "|---|---|",
        *rows,
    ]


def short(reason: str) -> str:
    """Return the first line of a reason, without the name of its check."""
    line = reason.partition(": ")[2].partition("\n")[0]
    return line if len(line) <= LONGEST else f"{line[:LONGEST].rstrip()} …"


def _compared() -> list[str]:
    rows = [f"| {changed} | {says} |" for changed, says in COMPARED.values()]
    return [
        "## What a comparison says",
        "",
        "Some changes turn few claims red, or none, because a single run has nothing to compare "
        "with. [Comparing](upgrades.md#compare-two-runs) two records of one target shows them: "
        "of `next-token`, `filter-order`, `greedy-argmax`, `greedy-deterministic`, "
        "`recorded-texts`.",
        "",
        "| what changed | result of the comparison |",
        "|---|---|",
        *rows,
    ]


def _unseen() -> list[str]:
    return ["## What is not caught", "", *(f"- {line}" for line in UNSEEN)]


def _listed(claims: tuple[str, ...]) -> str:
    return ", ".join(f"`{claim}`" for claim in claims)


def main(*arguments: str) -> None:
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
