"""What turns each claim red: the faults that the suite is tested with, as data.

`faults.json` is written by ``tests/faults/page.py``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("faults.json")


@dataclass(frozen=True)
class Fault:
    """One way of breaking the stack under test."""

    name: str
    stands_for: str
    """The real case that it represents, in a line."""


@cache
def faults_by_claim() -> dict[str, list[Fault]]:
    """Return for each claim the faults that were seen to turn it red, in their catalogue's order.

    >>> faults_by_claim()["load-nf4"][0].name
    'fp4-instead-of-nf4'
    """
    found: dict[str, list[Fault]] = {}
    for each in json.loads(FILE.read_text(encoding="utf-8")):
        for claim in each["claims"]:
            found.setdefault(claim, []).append(Fault(each["name"], each["stands_for"]))
    return found
