from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from probes.plugin import devices
from probes.targets.target import Target
from tests.support.project import Project

SEEN = """
import os

@pytest.mark.claim("device", title="A worker sees its own device.")
def test_device(model, evidence):
    evidence["worker"] = os.environ["PYTEST_XDIST_WORKER"]
    evidence["sees"] = os.environ.get("CUDA_VISIBLE_DEVICES")
    model.encode("Hello")
"""


def seen(project: Project) -> dict[str, str | None]:
    values = [check["values"] for check in project.claims()["device"]["evidence"]]
    return {value["worker"]: value["sees"] for value in values}


def test_worker_sees_one_of_the_visible_devices(
    warm_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    monkeypatch.setenv(devices.VISIBLE, "3, 5")
    warm_project.test_file(SEEN)
    assert warm_project.run("-n", "2", "--dist", "each", "--device", "auto").ret == 0
    assert seen(warm_project) == {"gw0": "3", "gw1": "5"}


def test_cpu_target_assigns_no_device(
    warm_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    monkeypatch.setenv(devices.VISIBLE, "3,5")
    warm_project.test_file(SEEN)
    assert warm_project.run("-n", "1").ret == 0
    assert seen(warm_project) == {"gw0": "3,5"}


def test_devices_come_from_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = "GPU 0: A (UUID: GPU-1)\nGPU 1: A (UUID: GPU-2)\n"
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(
        "subprocess.run",
        lambda *args, **_: subprocess.CompletedProcess(args, 0, stdout=listed, stderr=""),
    )
    target = Target(name="t", folder=Path(), device="cuda")
    assert devices.list_devices([target], {}) == ["0", "1"]
    assert devices.list_devices([target], {devices.VISIBLE: ""}) == []


def test_devices_are_empty_without_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert devices.list_devices([Target(name="t", folder=Path(), device="cuda")], {}) == []
