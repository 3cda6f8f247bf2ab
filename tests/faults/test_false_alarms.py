"""No check that draws fails under another seed, in another order.

A small share of ``python -m tests.benchmarks.false_alarms 500``: one seed, without the tasks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_fresh_seeds_raise_no_alarm() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.false_alarms", "1", "1000"],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": "-k 'not test_tasks'"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 1 runs (" in done.stdout
    assert "): 0 alarms in " in done.stdout, done.stderr
