from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.warm_process import WARM, run_module

ROOT = Path(__file__).parents[2]

COLLECT = """
import sys
import pytest

code = pytest.main(["--collect-only", "-q", *sys.argv[1:]])
print("exit", int(code))
print("imported", [name for name in ("torch", "transformers") if name in sys.modules])
"""


def test_collecting_loads_neither_torch_nor_transformers() -> None:
    command = [sys.executable, "-c", COLLECT, "tests/claims"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["exit 0", "imported []"]


def test_marker_gpu_collects_the_claims_alone() -> None:
    command = ("--collect-only", "-q", "-p", "no:cacheprovider", *WARM, "-m", "gpu")
    both = [run_module("pytest", ROOT, *command, *folder) for folder in ([], ["tests/claims"])]
    assert [done.returncode for done in both] == [0, 0]
    alone, named = (re.findall(r"^(\d+)/(\d+) tests", done.stdout, re.MULTILINE) for done in both)
    assert alone == named != []
