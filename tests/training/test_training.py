from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import MistralForCausalLM

TOKENIZER = Path(__file__).parents[2] / "probes" / "embedded" / "tokenizer.json"


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def trained(steps: int) -> tuple[MistralForCausalLM, list[float], list[str]]:
    """Train by the shipped recipe, only shorter and on less text a step."""
    from probes.training.recipe import Recipe
    from probes.training.train import train

    lines: list[str] = []
    model, losses = train(replace(Recipe(), steps=steps, tokens=512), TOKENIZER, lines.append)
    return model, losses, lines


def test_loss_falls_and_progress_is_reported() -> None:
    _, losses, lines = trained(8)
    assert sum(losses[-3:]) / 3 < losses[0] - 1.0
    assert lines[0].startswith("text drawn in ")
    assert lines[-1].startswith("step 8/8  loss ")


def test_same_recipe_gives_the_same_weights() -> None:
    import torch

    first, first_losses, _ = trained(2)
    again, again_losses, _ = trained(2)
    assert first_losses == again_losses
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_full_vocabulary_keeps_trained_rows_and_scatters_the_rest() -> None:
    import numpy as np
    import torch
    from transformers import MistralForCausalLM

    from probes.training.recipe import model_config
    from probes.training.train import Vocabulary, embedding_rows, with_full_vocabulary

    torch.manual_seed(0)
    vocabulary = Vocabulary(np.array([1, 2, 415, 5565, 31999]))
    model = MistralForCausalLM(model_config(len(vocabulary.ids) + 1))
    full = with_full_vocabulary(model, vocabulary, seed=0)
    ids = torch.tensor([[1, 415, 5565]])
    with torch.inference_mode():
        compact = model(input_ids=vocabulary.find_rows(ids.numpy())).logits
        spread = full(input_ids=ids).logits
    torch.testing.assert_close(spread[..., vocabulary.ids], compact[..., :-1])
    unused = embedding_rows(full)[100:200]
    assert len(torch.unique(unused, dim=0)) == 100


def test_folder_is_unchanged_when_training_stops(tmp_path: Path) -> None:
    from probes.training.folder import replacing_files

    folder = tmp_path / "model"

    def write(text: str, *, fail: bool) -> None:
        with replacing_files(folder) as work:
            (work / "config.json").write_text(text)
            if fail:
                raise RuntimeError("stopped")

    write("old", fail=False)
    with pytest.raises(RuntimeError, match="stopped"):
        write("half", fail=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (folder / "config.json").read_text() == "old"


def test_evaluation_of_an_empty_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from probes.training.__main__ import main

    monkeypatch.setattr("sys.argv", ["training", "evaluate", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == (
        f"error: no model.safetensors in {tmp_path}: train one first\n"
    )


def test_train_command_writes_a_folder_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    from probes.training import __main__ as command
    from probes.training.recipe import Recipe
    from probes.training.subject import Figure

    monkeypatch.setattr(command, "Recipe", lambda: Recipe(steps=2))
    monkeypatch.setattr(command, "evaluate_folder", lambda _: [Figure("answers right", "0 of 9")])
    monkeypatch.setattr("sys.argv", ["training", "train", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit, match="0"):
        command.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    row = "| answers right | 0 of 9 |"
    assert row in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert row in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path))
    assert model.get_input_embeddings().weight.shape == (32000, 128)
