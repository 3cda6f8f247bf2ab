"""The shell steps of the workflows do what their names say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.samples import check, header, planned, record

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

BASH = shutil.which("bash") or ""

needs_bash = pytest.mark.skipif(not BASH, reason="no bash here")
each_workflow = pytest.mark.parametrize("file", WORKFLOWS, ids=[file.name for file in WORKFLOWS])


def steps(file: Path) -> list[dict[str, Any]]:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [step for job in content["jobs"].values() for step in job["steps"]]


def script(workflow: str, name: str) -> str:
    file = ROOT / ".github" / "workflows" / workflow
    return next(str(step["run"]) for step in steps(file) if step.get("name") == name)


def shell(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step as a runner does: by bash, ended by the first command that fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [BASH, "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def run_on(folder: Path, number: float) -> None:
    """Put a record of the embedded model there."""
    target = folder / "embedded" / "20261123T075120Z"
    target.mkdir(parents=True)
    run = record([("c", check(values={"p": number}))], header(planned("c")))
    (target / "record.json").write_text(run.model_dump_json(), encoding="utf-8")


@each_workflow
def test_workflow_only_reads_and_has_a_time_limit(file: Path) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in content["jobs"].values())
    used = [step["uses"] for step in steps(file) if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z/-]+@v\d+", action) for action in used)


@needs_bash
@pytest.mark.parametrize("targets", [[], ["mistral-7b-nf4"], ["mistral-7b-nf4", "gpt2-xl"]])
def test_gpu_workflow_compares_every_baseline(targets: list[str], tmp_path: Path) -> None:
    for target in targets:
        (tmp_path / "baseline" / target).mkdir(parents=True)
    stub = tmp_path / ".venv-gpu" / "bin" / "pytest"
    stub.parent.mkdir(parents=True)
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    stub.chmod(0o755)
    done = shell(script("gpu.yml", "Decide the claims"), tmp_path)
    assert done.returncode == 0, done.stderr
    given = done.stdout.splitlines()
    assert given[:5] == ["tests/claims", "-m", "gpu", "--report-dir", "reports"]
    expected = [word for t in sorted(targets) for word in ("--baseline", f"baseline/{t}/")]
    assert given[5:] == expected


@needs_bash
@pytest.mark.parametrize("now", [0.5, 0.9])
def test_newest_workflow_passes_when_numbers_drift(now: float, tmp_path: Path) -> None:
    run_on(tmp_path / "good", 0.5)
    run_on(tmp_path / "reports", now)
    summary = tmp_path / "summary.md"
    text = script("newest.yml", "Compare with the last good record")
    done = shell(text, tmp_path, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0, done.stderr
    assert summary.read_text(encoding="utf-8").startswith("## embedded: ")
    assert (tmp_path / "reports" / "comparison.html").is_file()


@needs_bash
def test_newest_workflow_fails_when_a_claim_is_lost(tmp_path: Path) -> None:
    run_on(tmp_path / "good", 0.5)
    target = tmp_path / "reports" / "embedded" / "20261124T075120Z"
    target.mkdir(parents=True)
    run = record([("d", check())], header(planned("d")))
    (target / "record.json").write_text(run.model_dump_json(), encoding="utf-8")
    summary = tmp_path / "summary.md"
    text = script("newest.yml", "Compare with the last good record")
    done = shell(text, tmp_path, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1
    assert "removed" in summary.read_text(encoding="utf-8")


@needs_bash
@pytest.mark.parametrize(
    ("workflow", "name", "kept"),
    [
        ("gpu.yml", "Make this run the baseline", "baseline/embedded"),
        ("newest.yml", "Make this the last good record", "good/embedded"),
    ],
)
def test_good_run_becomes_the_baseline(workflow: str, name: str, kept: str, tmp_path: Path) -> None:
    run_on(tmp_path / "reports", 0.5)
    (tmp_path / kept / "older").mkdir(parents=True)
    assert shell(script(workflow, name), tmp_path).returncode == 0
    assert [each.name for each in (tmp_path / kept).iterdir()] == ["20261123T075120Z"]


# --- the action ----------------------------------------------------------------------------------

ACTION = ROOT / "action.yml"


def run_action(name: str, folder: Path, **inputs: str) -> list[str]:
    """Run a step of the action with stand-ins for its commands; return the words they got."""
    content = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    known = {key: str(entry["default"]) for key, entry in content["inputs"].items()}
    step = next(step for step in content["runs"]["steps"] if step["name"] == name)
    for command in ("probes", "python"):
        stub = folder / "bin" / command
        stub.parent.mkdir(exist_ok=True)
        stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
        stub.chmod(0o755)
    variables = {}
    for key, text in step["env"].items():
        expression = re.fullmatch(r"\$\{\{ (inputs|github)\.([a-z_-]+) \}\}", text)
        assert expression is not None
        variables[key] = {**known, **inputs, "action_path": "SOURCE"}[expression.group(2)]
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    words = [BASH, "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(
        words, env={**variables, "PATH": path}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@needs_bash
@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, ["run", "embedded"]),
        (
            {"target": "a folder\norg/model\n", "options": "--claim=top-k\n-k\na or b"},
            ["run", "a folder", "org/model", "--claim=top-k", "-k", "a or b"],
        ),
        (
            {"target": "$(touch x)", "reference": "R", "baseline": "B", "known-failures": "K"},
            ["run", "$(touch x)", "--reference", "R", "--baseline", "B", "--known-failures", "K"],
        ),
    ],
)
def test_action_passes_its_inputs_on(
    inputs: dict[str, str], expected: list[str], tmp_path: Path
) -> None:
    last = ["--report-dir", "reports", "--junit-xml", "reports/junit.xml"]
    assert run_action("Decide the claims", tmp_path, **inputs) == [*expected, *last]


@needs_bash
@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, ["SOURCE[charts]"]),
        ({"libraries": "tested", "extras": ""}, ["-c", "SOURCE/constraints.txt", "SOURCE"]),
    ],
)
def test_action_installs_this_package(
    inputs: dict[str, str], expected: list[str], tmp_path: Path
) -> None:
    words = run_action("Install probes", tmp_path, **inputs)
    assert words == ["-m", "pip", "install", *expected]


def test_action_inserts_no_input_into_a_script() -> None:
    content = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    assert all("${{" not in step["run"] for step in content["runs"]["steps"])


def test_action_is_documented_input_by_input() -> None:
    content = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "continuous-integration.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z-]+)` \|", page, flags=re.MULTILINE)
    assert documented == [*content["inputs"]]


@needs_bash
def test_examples_of_other_services_are_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "continuous-integration.md").read_text(encoding="utf-8")
    found = re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    on_github, on_gitlab = (yaml.safe_load(text) for text in found)
    used = on_github["jobs"]["claims"]["steps"][2]
    assert set(used["with"]) <= set(yaml.safe_load(ACTION.read_text(encoding="utf-8"))["inputs"])
    for line in on_gitlab["claims"]["script"]:
        assert shell(f"set -n; {line}", tmp_path).returncode == 0
