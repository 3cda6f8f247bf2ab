"""What turns each claim red: the faults that the suite is tested with, as data.

`faults.json` is made from the faults themselves, by ``tests/faults/page.py``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = Path(__file__).with_name("faults.json")


@dataclass(frozen=True)
class Fault:
    """One way of breaking the stack under test.

    Attributes:
        name: what is broken.
        stands_for: the real case it stands for, in a line.
    """

    name: str
    stands_for: str


@cache
def by_claim() -> Mapping[str, tuple[Fault, ...]]:
    """For each claim the faults that were seen to turn it red, in the order of their catalogue.

    >>> by_claim()["load-nf4"][0].name
    'fp4-instead-of-nf4'
    """
    found: dict[str, tuple[Fault, ...]] = {}
    for each in json.loads(FILE.read_text(encoding="utf-8")):
        for claim in each["claims"]:
            found[claim] = (*found.get(claim, ()), Fault(each["name"], each["stands_for"]))
    return found
