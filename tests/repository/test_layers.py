import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def test_imports_keep_the_contracts() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    ended = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("module", ["probes", "probes.cli", "probes.plugin", "probes.compare"])
def test_import_loads_no_torch(module: str) -> None:
    program = f"import {module}, sys; print('torch' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert ended.stdout == "False\n", ended.stderr
