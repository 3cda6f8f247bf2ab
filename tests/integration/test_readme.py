"""The claim that the README shows is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Project

README = Path(__file__).parents[2] / "README.md"


def test_the_claim_in_the_readme_holds(warm_project: Project) -> None:
    (example,) = re.findall(
        r"^```python\nimport pytest\n(.*?)^```$",
        README.read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    warm_project.test_file(example)
    assert warm_project.run().ret == 0
    assert warm_project.claims()["knows-tokyo"]["verdict"] == "holds"
