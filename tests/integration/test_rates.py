from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.project import Project
from tests.support.warm_process import WARM, run_module

ROOT = Path(__file__).parents[2]

MEASURES = """
from probes.schema.record import Rate

@pytest.mark.throughput
def test_speed(model, rates):
    rates.append(Rate(what="copy", unit="bytes", per_second=2.0, low=1.0, high=3.0))

@pytest.mark.throughput
def test_nothing(model, rates):
    pytest.skip("not here")
"""


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run pytest in this clone, and return what it prints."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)  # in a worker's environment pytest-benchmark measures nothing

    def run(*arguments: str) -> str:
        done = run_module("pytest", ROOT, "-p", "no:cacheprovider", "-q", *WARM, *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.mark.parametrize(
    ("arguments", "measured"),
    [
        ([], False),
        (["tests/claims/test_loading.py", "tests/benchmarks"], True),
        (["-m", "throughput"], True),
    ],
)
def test_throughput_is_collected_where_selected(
    run_here: Callable[..., str], arguments: list[str], measured: bool
) -> None:
    others = {path.name for path in (ROOT / "tests").iterdir()} - {"benchmarks", "claims"}
    ignored = [f"--ignore=tests/{name}" for name in sorted(others)]
    output = run_here("--collect-only", *ignored, *arguments)
    assert ("tests/benchmarks/test_throughput.py::" in output) == measured, output


def test_throughput_of_embedded_model_is_recorded(
    run_here: Callable[..., str], tmp_path: Path
) -> None:
    chosen = "copy or (embedded-1-static) or num_return"
    output = run_here("tests/benchmarks", "-k", chosen, "--report-dir", str(tmp_path))
    assert "throughput on embedded: 4 of 4 rates measured" in output
    (file,) = tmp_path.glob("embedded/*/record.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    found = [(rate["what"], rate["batch"], rate["cache"]) for rate in record["throughput"]]
    assert found == [
        ("copy", 1, "none"),
        ("prefill", 1, "static"),
        ("decode", 1, "static"),
        ("num_return_sequences", 8, "dynamic"),
    ]
    assert all(rate["per_second"] > 0 for rate in record["throughput"])
    assert record["target"]["device"] != "auto"
    assert 'id="throughput"' in file.with_name("report.html").read_text(encoding="utf-8")


def test_throughput_is_skipped_under_xdist(run_here: Callable[..., str], tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    output = run_here("tests/benchmarks", "-n", "1", "--report-dir", str(tmp_path))
    assert "16 skipped" in output
    assert "pytest-benchmark is switched off, as under pytest-xdist: nothing is" in output
    assert not [*tmp_path.iterdir()]


def test_rates_are_recorded_with_verdicts(warm_project: Project) -> None:
    claim = '\n@pytest.mark.claim("mine", title="It is.")\ndef test_it(model):\n    pass\n'
    warm_project.test_file(MEASURES + claim)
    assert warm_project.run().ret == 0
    record = warm_project.record()
    assert [rate["per_second"] for rate in record["throughput"]] == [2.0]
    assert [claim["verdict"] for claim in record["claims"]] == ["holds"]
    assert record["complete"]


def test_rates_come_from_workers(warm_project: Project) -> None:
    pytest.importorskip("xdist")
    warm_project.test_file(MEASURES)
    assert warm_project.run("-n", "1").ret == 0
    assert [rate["what"] for rate in warm_project.record()["throughput"]] == ["copy"]


def test_killed_run_keeps_its_rates(project: Project) -> None:
    from probes.results.reading import read

    killed = "\n@pytest.mark.throughput\ndef test_end(model):\n    import os\n    os._exit(9)\n"
    project.test_file(MEASURES + killed)
    project.run_apart()
    stopped = read(project.folder / "reports" / "embedded")
    assert not stopped.complete
    assert [rate.per_second for rate in stopped.throughput] == [2.0]
