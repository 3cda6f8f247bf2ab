"""References of several targets: one is in memory at a time."""

from __future__ import annotations

import pytest

from probes.targets.target import EMBEDDED_FOLDER
from tests.support.project import Project

TEST = """
SEEN = []

@pytest.mark.claim("mine", title="The reference is loaded.")
def test_mine(model, reference, evidence):
    evidence["dtype"] = str(reference.network.dtype)
    SEEN.append(reference)
    evidence["in memory"] = sum("network" in vars(each) for each in SEEN)
"""

TARGETS = f"""
[targets.one]
folder = '{EMBEDDED_FOLDER}'
reference = "half"

[targets.two]
folder = '{EMBEDDED_FOLDER}'
reference = "brief"

[targets.half]
folder = '{EMBEDDED_FOLDER}'
dtype = "float16"

[targets.brief]
folder = '{EMBEDDED_FOLDER}'
dtype = "bfloat16"
"""


def test_reference_is_unloaded_before_another_is_loaded(warm_project: Project) -> None:
    warm_project.test_file(TEST)
    (warm_project.folder / "targets.toml").write_text(TARGETS, encoding="utf-8")
    result = warm_project.run(
        "--targets-file", "targets.toml", "--target", "one", "--target", "two"
    )
    assert result.ret == pytest.ExitCode.OK
    found = [record["claims"][0]["evidence"][0]["values"] for record in warm_project.records()]
    assert found == [
        {"dtype": "torch.float16", "in memory": 1},
        {"dtype": "torch.bfloat16", "in memory": 1},
    ]
