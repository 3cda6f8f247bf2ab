from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

COLLECT = """
import sys
import pytest

code = pytest.main(["--collect-only", "-q"])
print("exit", int(code))
print("imported", [name for name in ("torch", "transformers") if name in sys.modules])
"""


def test_collecting_all_tests_imports_neither_torch_nor_transformers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COLLECT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-2:] == ["exit 0", "imported []"]
    assert "tests/claims/test_tokenizer.py::test_english_prompt_has_its_ids[embedded]" in (
        done.stdout.splitlines()
    )
