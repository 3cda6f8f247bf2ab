"""Claims about weights, on folders that differ in their head, their rows, their layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

CLAIMS = Path(__file__).parents[1] / "claims"

OF_THE_ROWS = ("embedding-shape", "vocab-table", "model-reload", "nothing-new", "resized")


def test_rows_beyond_the_tokenizer_are_kept_tied_or_not(
    warm_project: Project, tmp_path: Path
) -> None:
    from tests.support import model_folders as folders

    targets = [
        str(make(tmp_path / "targets" / make.__name__))
        for make in (folders.padded_and_tied, folders.padded_and_untied)
    ]
    arguments = [word for folder in targets for word in ("--target", folder)]
    arguments += [word for claim in OF_THE_ROWS for word in ("--claim", claim)]
    result = warm_project.run(str(CLAIMS), "-q", "--tb=no", *arguments)
    assert result.ret == pytest.ExitCode.OK
    records = warm_project.records()
    assert len(records) == len(targets)
    for record in records:
        found = {claim["id"]: claim["verdict"] for claim in record["claims"]}
        assert found == dict.fromkeys(OF_THE_ROWS, "holds")


def test_stored_layer_that_is_not_used_is_named(warm_project: Project, tmp_path: Path) -> None:
    from tests.support import model_folders as folders

    folder = folders.with_a_layer_too_many(tmp_path / "more")
    arguments = ["-q", "--tb=no", "--claim", "nothing-new", "--target", str(folder)]
    result = warm_project.run(str(CLAIMS), *arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    [claim] = warm_project.record()["claims"]
    assert claim["reason"] == (
        "model.layers.1.input_layernorm.weight and 8 more: stored, and not used"
    )
