"""A secret of the environment reaches no file that a run leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from probes.targets.target import EMBEDDED_FOLDER
from tests.support.project import Project

SECRETS = {"HF_TOKEN": "hf-like/but+of no#known:shape", "MY_API_KEY": "0123456789-planted"}

LEAKS = """
import os

HF, KEY = os.environ["HF_TOKEN"], os.environ["MY_API_KEY"]

@pytest.mark.claim("evidence", title=f"Its evidence and title hold {KEY}.", differs=HF)
@pytest.mark.parametrize("way", [KEY, HF])
def test_evidence(model, evidence, way):
    from urllib.parse import quote
    evidence[KEY] = {"in": [HF, {"deep": f"https://x.org/?q={quote(HF, safe='')}&k={KEY}"}]}
    evidence["repr"] = repr({"header": f"Bearer {HF}"})

@pytest.mark.claim("failure", title="It fails.")
def test_failure(model):
    answer = f"got {HF} and {KEY}"
    assert answer == "nothing", f"{answer}"

@pytest.mark.claim("comparison", title="It fails by pytest's own words.")
def test_comparison(model):
    assert [HF, KEY] == []

@pytest.mark.claim("error", title="It breaks.")
def test_error(model):
    raise RuntimeError(f"401 for url https://x.org/{KEY}: token {HF}")

@pytest.mark.claim("reason", title="It does not apply.")
def test_reason(model):
    pytest.skip(f"no access with {KEY}, {HF}")
"""

LOADING = """
@pytest.mark.claim("loading", title="It needs the weights.")
def test_loading(model):
    assert model.network
"""


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def left(folder: Path) -> dict[str, str]:
    """What lies below a folder, by name: folders count too."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") if path.is_file() else ""
        for path in folder.rglob("*")
    }


def nothing_leaks(found: dict[str, str]) -> None:
    assert found
    for name, text in found.items():
        for secret in SECRETS.values():
            assert secret not in name, name
            assert secret not in text, name


@pytest.mark.parametrize("report", [True, False], ids=["with a report", "without"])
def test_secrets_reach_no_file_of_a_run(
    warm_project: Project,
    copy_of_embedded: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    secrets: None,
    report: bool,
) -> None:
    out = warm_project.folder / "out"
    out.mkdir()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(out / "job.md"))
    folder = copy_of_embedded(f"tuned-{SECRETS['MY_API_KEY']}")
    warm_project.test_file(LEAKS)
    result = warm_project.run(
        *("--target", str(folder), "--summary", "out/summary.md", "--tb=no", "-p", "no:warnings"),
        *(["--report-dir", "out/reports"] if report else ["--no-report"]),
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = left(out)
    nothing_leaks(found)
    assert sum("secret" in text for text in found.values()) == (5 if report else 2)
    verdicts = [line for line in result.outlines if line.startswith(("fails: ", "error: "))]
    assert len(verdicts) == 3
    nothing_leaks({"terminal": "\n".join(verdicts)})


def test_secrets_reach_no_journal(
    warm_project: Project, copy_of_embedded: Callable[..., Path], secrets: None
) -> None:
    config = json.loads((EMBEDDED_FOLDER / "config.json").read_text(encoding="utf-8"))
    key = SECRETS["MY_API_KEY"]
    folder = copy_of_embedded(
        f"novel-{key}", **{"config.json": {**config, "model_type": f"novel-{key}"}}
    )
    warm_project.test_file(LOADING)
    result = warm_project.run("--target", str(folder), "--tb=no")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (claim,) = warm_project.claims().values()
    assert claim["verdict"] == "error"
    assert "<secret>" in claim["reason"]
    nothing_leaks(left(warm_project.folder / "reports"))
