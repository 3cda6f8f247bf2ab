from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import probes

if TYPE_CHECKING:
    from probes import Model

EMBEDDED = Path(__file__).parents[2] / "probes" / "embedded"


@pytest.fixture(scope="module")
def model() -> Model:
    return probes.load("embedded")


def test_folder_is_small_and_complete() -> None:
    names = {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    files = [path for path in EMBEDDED.iterdir() if path.is_file()]
    assert {path.name for path in files} == names
    assert sum(path.stat().st_size for path in files) <= 14_000_000


def test_weights_are_stored_once_in_float16() -> None:
    with (EMBEDDED / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    assert header.pop("__metadata__") == {"format": "pt"}
    assert {entry["dtype"] for entry in header.values()} == {"F16"}
    assert "lm_head.weight" not in header
    assert header["model.embed_tokens.weight"]["shape"] == [32000, 128]


def test_model_loads_in_float32_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(EMBEDDED))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert [str(w.message) for w in recwarn] == []


def test_window_is_applied_beyond_its_width(model: Model) -> None:
    import torch

    from probes.training.mechanism import compute_logits

    ids = torch.tensor([model.encode(" ".join(["The capital of Japan is Tokyo."] * 20))])
    positions = torch.arange(ids.shape[1])
    right = compute_logits(model, ids, positions)[0]
    window = model.network.config.sliding_window
    try:
        model.network.config.sliding_window = 4096
        without = compute_logits(model, ids, positions)[0]
    finally:
        model.network.config.sliding_window = window
    assert (right[:window] - without[:window]).abs().max() < 1e-4
    assert (right[window:] - without[window:]).abs().max() > 0.05


def test_card_shows_measured_figures(model: Model) -> None:
    from probes.training.embedding import group_figures
    from probes.training.evaluate import next_token_figures

    card = (EMBEDDED / "README.md").read_text("utf-8")
    lines = dict(re.findall(r"^\| (.+?) \| (.+) \|$", card, re.MULTILINE))
    for figure in (*next_token_figures(model), *group_figures(model)):
        assert _numbers(lines[figure.name]) == pytest.approx(_numbers(figure.value), abs=0.011)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
