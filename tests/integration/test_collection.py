from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

ROOT = Path(__file__).parents[2]

COLLECT = """
import sys
import pytest

code = pytest.main(["--collect-only", "-q"])
print("exit", int(code))
print("imported", [name for name in ("torch", "transformers") if name in sys.modules])
"""


def test_collecting_claims_imports_neither_torch_nor_transformers(project: Project) -> None:
    project.test_file('@pytest.mark.claim("x", title="x")\ndef test_it(model):\n    pass\n')
    done = subprocess.run(
        [sys.executable, "-c", COLLECT],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-2:] == ["exit 0", "imported []"]


@pytest.mark.parametrize(
    ("arguments", "folders"),
    [
        (["-m", "gpu"], {"claims"}),
        (["-m", "gpu", "tests/claims/test_tokenizer.py", "tests/unit/plugin"], {"claims", "unit"}),
        (["tests/claims"], {"claims"}),
    ],
)
def test_marker_gpu_collects_the_claims_alone(arguments: list[str], folders: set[str]) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-v", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line.strip() for line in done.stdout.splitlines()]
    found = {line.removeprefix("<Dir ").rstrip(">") for line in lines if line.startswith("<Dir ")}
    assert found & {"claims", "unit", "integration", "faults", "benchmarks"} == folders
    assert "mistral-7b-nf4" in done.stdout or "gpu" not in arguments
