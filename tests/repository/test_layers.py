import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_imports_keep_the_contracts() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    ended = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def test_import_loads_no_torch() -> None:
    modules = ("probes", "probes.compare", "probes.plugin", "probes.cli")
    lines = [f"import {each}; print('{each}', 'torch' in sys.modules)" for each in modules]
    program = "\n".join(["import sys", *lines])
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert ended.stdout.splitlines() == [f"{each} False" for each in modules], ended.stderr
