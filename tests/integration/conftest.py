"""Small projects with claims of their own, run by a pytest inside this one."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair  # noqa: F401 - cannot be imported twice, and a run in this process forgets it
import hypothesis  # noqa: F401 - its plugin imports it at the end of each run: once is enough
import pytest
import vl_convert  # noqa: F401 - cannot be imported twice, and a run in this process forgets it

from probes.targets.target import EMBEDDED_FOLDER
from tests.support.warm_process import run_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CLAIMS = Path(__file__).parents[1] / "claims"


@pytest.fixture(scope="session")
def embedded_model_loaded() -> None:
    """Load the model in this process once: torch cannot be imported twice."""
    import bitsandbytes  # noqa: F401 - cannot be imported twice either

    import probes

    probes.load("embedded").generate("The capital of Japan is", max_new_tokens=1)


@dataclass
class Project:
    """A folder with tests, and what running them leaves there."""

    pytester: pytest.Pytester

    @property
    def folder(self) -> Path:
        return self.pytester.path

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in this process: quick, for all that does not end in a crash."""
        return self.pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)

    def run_apart(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in a process of its own."""
        done = run_module("pytest", self.folder, "-p", "no:cacheprovider", *arguments)
        output, errors = done.stdout.splitlines(), done.stderr.splitlines()
        return pytest.RunResult(done.returncode, output, errors, duration=0.0)

    def run_cold(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in an interpreter of its own, whose libraries read the environment."""
        return self.pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    def decide(
        self, targets: Iterable[Path | str], claims: Iterable[str], *options: str
    ) -> dict[str, dict[str, Any]]:
        """Decide built-in claims on targets; return the records by the targets' names."""
        named = [word for each in targets for word in ("--target", str(each))]
        named += [word for each in claims for word in ("--claim", each)]
        self.run(str(CLAIMS), "-q", "--tb=no", *named, *options)
        return {record["target"]["name"]: record for record in self.records()}

    def test_file(self, text: str, name: str = "test_mine.py") -> Path:
        file = self.folder / name
        file.write_text(f"import pytest\n\n{text}", encoding="utf-8")
        return file

    def records(self, report_dir: str = "reports") -> list[dict[str, Any]]:
        """Every record written, in the order of their paths."""
        files = sorted((self.folder / report_dir).glob("*/*/record.json"))
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def record(self) -> dict[str, Any]:
        (record,) = self.records()
        return record

    def claims(self) -> dict[str, dict[str, Any]]:
        """The claims of the one record, by id."""
        return {claim["id"]: claim for claim in self.record()["claims"]}


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
