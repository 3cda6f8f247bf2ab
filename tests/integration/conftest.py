"""Small projects with claims of their own, run by a pytest inside this one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import altair  # noqa: F401 - cannot be imported twice, and a run in this process forgets it
import hypothesis  # noqa: F401 - its plugin imports it at the end of each run: once is enough
import pytest
import vl_convert  # noqa: F401 - cannot be imported twice, and a run in this process forgets it

import probes.report.files  # noqa: F401 - each run would import it, and compile its templates
from probes.targets.target import EMBEDDED_FOLDER
from tests.support.project import Project


@pytest.fixture(scope="session")
def embedded_model_loaded() -> None:
    """Load the model in this process once: torch cannot be imported twice."""
    import bitsandbytes  # noqa: F401 - cannot be imported twice either

    import probes
    from probes.stats import goodness_of_fit, similarity  # noqa: F401 - of what takes a second

    probes.load("embedded").generate("The capital of Japan is", max_new_tokens=1)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    if find_spec("xdist"):
        from tests.support.warm_worker import WarmWorker

        monkeypatch.setattr("execnet.gateway_io.Popen2IOMaster", WarmWorker)
    return Project(pytester)


@pytest.fixture
def warm_project(project: Project, embedded_model_loaded: None) -> Project:
    """An empty project whose runs can use the embedded model in this process."""
    return project


@pytest.fixture
def in_brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode fewer texts and draw no pictures: every eighth text is enough to see a fault."""
    monkeypatch.setattr("probes.measure.tokenizer_corpus.STEP", 8)
    monkeypatch.setattr("probes.report.html.page.draw", lambda _: {})


@pytest.fixture
def copy_of_embedded(tmp_path: Path) -> Callable[..., Path]:
    """Copy the embedded model's folder; each keyword replaces a JSON file, None leaves it out."""

    def copy(name: str = "copied", **files: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(EMBEDDED_FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file, content in files.items():
            if content is None:
                (folder / file).unlink()
            else:
                (folder / file).write_text(json.dumps(content), encoding="utf-8")
        return folder

    return copy
