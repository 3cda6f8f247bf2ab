"""What turns each claim red: the faults that the suite is tested with, as data.

`faults.json` is written by ``tests/faults/page.py``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("faults.json")


@cache
def faults_by_claim() -> dict[str, list[dict[str, Any]]]:
    """Return for each claim the faults that were seen to turn it red, in their catalogue's order.

    >>> faults_by_claim()["load-nf4"][0]["name"]
    'fp4-instead-of-nf4'
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for fault in json.loads(FILE.read_text(encoding="utf-8")):
        for claim in fault["claims"]:
            found.setdefault(claim, []).append(fault)
    return found
