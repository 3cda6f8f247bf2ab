from __future__ import annotations

import pytest

from probes.plugin.exit_status import exit_code


@pytest.mark.parametrize(
    ("status", "reasons", "code"),
    [
        (0, "", 0),
        (1, "", 1),
        (3, "changed undecided", 3),
        (0, "changed", 1),
        (0, "left_out", 1),
        (0, "undecided", 5),
        (0, "undecided left_out", 5),
        (0, "undecided changed", 5),
        (1, "interrupted", 2),
        (2, "terminated", 143),
        (2, "terminated interrupted", 143),
        (1, "terminated refused", 4),
        (5, "refused undecided", 4),
        (5, "changed", 5),
    ],
)
def test_exit_code_follows_the_most_urgent_reason(status: int, reasons: str, code: int) -> None:
    assert exit_code(status, **dict.fromkeys(reasons.split(), True)) == code
