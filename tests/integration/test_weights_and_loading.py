"""Claims about weights, on folders that differ in their head, their rows, their layers."""

from __future__ import annotations

from pathlib import Path

from tests.support.project import Project

OF_THE_ROWS = ("embedding-shape", "vocab-table", "model-reload", "nothing-new", "resized")


def test_rows_beyond_the_tokenizer_are_kept_tied_or_not(
    warm_project: Project, tmp_path: Path
) -> None:
    from tests.support import model_folders as folders

    makers = (folders.padded_and_tied, folders.padded_and_untied)
    targets = [make(tmp_path / "targets" / make.__name__) for make in makers]
    records = warm_project.decide(targets, OF_THE_ROWS)
    assert len(records) == len(targets)
    for record in records.values():
        found = {claim["id"]: claim["verdict"] for claim in record["claims"]}
        assert found == dict.fromkeys(OF_THE_ROWS, "holds")


def test_stored_layer_that_is_not_used_is_named(warm_project: Project, tmp_path: Path) -> None:
    from tests.support import model_folders as folders

    folder = folders.with_a_layer_too_many(tmp_path / "more")
    [claim] = warm_project.decide([folder], ["nothing-new"])["more"]["claims"]
    assert claim["verdict"] == "fails"
    assert claim["reason"] == (
        "model.layers.1.input_layernorm.weight and 8 more: stored, and not used"
    )
