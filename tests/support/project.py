"""A folder with tests of its own, which a pytest inside this one runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.warm_process import run_module

CLAIMS = Path(__file__).parents[1] / "claims"


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
