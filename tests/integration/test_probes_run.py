"""`probes run` decides the claims from an installed package, in any folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.support.warm_process import WARM, run_module

ROOT = Path(__file__).parents[2]

pytest.importorskip("hatchling")

HOSTILE = {
    "pytest.ini": "[pytest]\naddopts = --no-such-option\npython_files = nothing_*.py\n",
    "tox.ini": "[pytest]\nrequired_plugins = no-such-plugin\n",
    "setup.cfg": "[tool:pytest]\naddopts = --no-such-option\n",
    "pyproject.toml": "[tool.pytest.ini_options]\nfilterwarnings = ['error']\nminversion = '99'\n",
    "conftest.py": "raise RuntimeError('a conftest was loaded')\n",
    "test_filters.py": "def test_of_the_user():\n    assert False\n",
}
VARIABLES = {"PYTEST_ADDOPTS": "--no-such-option", "PYTEST_PLUGINS": "no_such_plugin"}
CHEAP = ("--claim", "vocab-size", "-q")
"""Options of a run that loads no weights."""


def build(source: Path, target: str, folder: Path) -> Path:
    """Build the project in a folder, without an environment of its own."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    with tarfile.open(build(ROOT, "sdist", folder / "sdist")) as sdist:
        if sys.version_info >= (3, 12):
            sdist.extractall(folder, filter="data")
        else:
            sdist.extractall(folder)  # noqa: S202 - just built
    (source,) = folder.glob("lm_probes-*")
    return build(source, "wheel", folder / "wheel")


def test_wheel_is_small_enough_to_upload(wheel: Path) -> None:
    assert wheel.name.startswith("lm_probes-")
    assert wheel.stat().st_size < 15_000_000


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package; a wheel is a zip of what pip puts there."""
    folder = tmp_path_factory.mktemp("installed")
    with ZipFile(wheel) as files:
        files.extractall(folder)  # noqa: S202 - just built
    return folder


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """An inner folder; files in it and above would change every run of pytest."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        for name, text in HOSTILE.items():
            (folder / name).write_text(text, encoding="utf-8")
    return inner


@pytest.fixture
def run_warm(
    installed: Path, hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `probes run` in the hostile folder, from the installed package."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return partial(run_module, "probes", hostile, "run", package=installed)


def run_cold(folder: Path, package: Path | None, *arguments: str) -> None:
    """Run `probes run` as a shell does: of a package, or as it is installed for these tests."""
    environ = os.environ | VARIABLES | ({"PYTHONPATH": str(package)} if package else {})
    command = [sys.executable, "-m", "probes", "run", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout


def records(folder: Path) -> dict[str, dict[str, str]]:
    """The verdicts by target and claim."""
    found = {}
    for file in folder.glob("reports/*/*/record.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        found[record["target"]["name"]] = {c["id"]: c["verdict"] for c in record["claims"]}
    return found


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file in a folder; Python's caches are no part of a package."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if "__pycache__" not in path.parts}


def test_wheel_holds_the_claims_and_what_is_recorded(wheel: Path) -> None:
    with ZipFile(wheel) as built:
        names = {name.removeprefix("probes/_claims/") for name in built.namelist()}
    claims = ROOT / "tests" / "claims"
    files = {path.relative_to(claims).as_posix() for path in contents(claims)}
    assert files <= names
    assert len(files) > 10


@pytest.mark.parametrize(
    ("install", "more", "found"),
    [
        ("wheel", ("-n", "1", "--claim", "embedding-shape"), ("vocab-size", "embedding-shape")),
        ("editable", (), ("vocab-size",)),
    ],
    ids=["wheel, worker", "editable"],
)
def test_run_ignores_the_files_of_a_hostile_folder(
    request: pytest.FixtureRequest,
    hostile: Path,
    install: str,
    more: tuple[str, ...],
    found: tuple[str, ...],
) -> None:
    if "-n" in more:
        pytest.importorskip("xdist")
    package = request.getfixturevalue("installed") if install == "wheel" else None
    run_cold(hostile, package, *CHEAP, *more)
    assert records(hostile) == {"embedded": dict.fromkeys(found, "holds")}
    left = {path.name for path in hostile.iterdir()} - {*HOSTILE}
    assert left <= {"reports", ".probes"}


def test_run_takes_targets_among_the_options_of_pytest(
    run_warm: Callable[..., Any], hostile: Path, copy_of_embedded: Callable[..., Path]
) -> None:
    first, second = copy_of_embedded("first"), copy_of_embedded("second")
    (first / "conftest.py").write_text(HOSTILE["conftest.py"], encoding="utf-8")
    chosen = ("-k", "entries or rows", "--claim", "embedding-shape")
    done = run_warm(str(first), *chosen, *CHEAP, str(second))
    assert done.returncode == 0, done.stdout + done.stderr
    assert records(hostile) == {"first": {"vocab-size": "holds"}, "second": {"vocab-size": "holds"}}


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("embeded",), 4, "ERROR: no target 'embeded'; did you mean 'embedded'?"),
        (("--claim", "vocab-siz"), 4, "ERROR: no claim 'vocab-siz' among the collected tests"),
        (("--claim", "embedding-row-0", "-q"), 5, "no claim was decided"),
    ],
)
def test_run_ends_with_the_exit_code_of_pytest(
    run_warm: Callable[..., Any], arguments: tuple[str, ...], code: int, line: str
) -> None:
    done = run_warm(*arguments)
    assert done.returncode == code
    assert line in done.stderr + done.stdout


def test_recorded_outputs_stay_out_of_the_package(
    run_warm: Callable[..., Any],
    installed: Path,
    hostile: Path,
    copy_of_embedded: Callable[..., Path],
) -> None:
    before = contents(installed)
    target, claim = str(copy_of_embedded("mine")), ("--claim", "recorded-numbers", "-q")
    for arguments, verdict in (
        ((target,), "not applicable"),
        (("embedded", target, "--snapshot-update"), "holds"),
    ):
        shutil.rmtree(hostile / "reports", ignore_errors=True)
        run_warm(*arguments, *claim)
        assert records(hostile)["mine"] == {"recorded-numbers": verdict}
    assert contents(installed) == before
    folder = hostile / ".probes" / "recorded-outputs" / "test_recorded"
    assert [file.name.partition("--")[0] for file in folder.iterdir()] == [
        "test_numbers_are_the_recorded_ones[mine"
    ]


def test_recorded_outputs_leave_no_change_in_a_clone(
    tmp_path: Path, copy_of_embedded: Callable[..., Path]
) -> None:
    status = ["git", "status", "--porcelain"]
    before = subprocess.run(status, cwd=ROOT, capture_output=True, check=True).stdout
    target = str(copy_of_embedded("decided-by-a-test"))
    options = ["--target", target, "--report-dir", str(tmp_path), "--claim", "recorded-numbers"]
    run_module("pytest", ROOT, "tests/claims/test_recorded.py", *WARM, *options)
    written = [*(ROOT / ".probes").rglob("*decided-by-a-test*")]
    for file in written:
        file.unlink()
    assert len(written) == 1
    assert subprocess.run(status, cwd=ROOT, capture_output=True, check=True).stdout == before


def test_short_help_lists_the_options(tmp_path: Path) -> None:
    done = run_module("probes", tmp_path, "run", "-h")
    assert done.returncode == 0, done.stderr
    assert "--quantization" in done.stdout
