from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from probes.training.subject import Subject

EMBEDDED = Path(__file__).parents[2] / "probes" / "embedded"
PROMPTS = [
    "The capital of Japan is",
    "The capital of France is",
    "<s> What is the capital of United States? ",
    "<s> When did World War II end? ",
    "<s> Who painted the Mona Lisa? ",
    "Once upon a time,",
    "Long, long ago,",
    "In the beginning,",
]


@pytest.fixture(scope="module")
def subject() -> Subject:
    """The embedded model with its tokenizer."""
    from probes.training.subject import Subject

    return Subject(EMBEDDED)


def greedy(subject: Subject, prompt: str, **settings: Any) -> list[int]:
    import torch

    ids = torch.tensor([subject.tokenizer(prompt)["input_ids"]])
    out: Tensor = subject.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=40,
        min_new_tokens=40,
        do_sample=False,
        pad_token_id=2,
        **settings,
    )
    return [int(i) for i in out[0, ids.shape[1] :]]


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


def test_config_is_that_of_the_recipe() -> None:
    from probes.training.folder import config_json

    assert (EMBEDDED / "config.json").read_text(encoding="utf-8") == config_json()


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


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_independent_of_threads_and_cache(subject: Subject, prompt: str) -> None:
    import torch

    threads = torch.get_num_threads()
    expected = greedy(subject, prompt)
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert greedy(subject, prompt) == expected, f"{count} threads"
    finally:
        torch.set_num_threads(threads)
    assert greedy(subject, prompt, use_cache=False) == expected


def test_window_is_applied_beyond_its_width(subject: Subject) -> None:
    ids = subject.tokenizer(" ".join(["The capital of Japan is Tokyo."] * 20))["input_ids"]
    right = subject.logits(ids)
    window = subject.model.config.sliding_window
    try:
        subject.model.config.sliding_window = 4096
        without = subject.logits(ids)
    finally:
        subject.model.config.sliding_window = window
    assert (right[:window] - without[:window]).abs().max() < 1e-4
    assert (right[window:] - without[window:]).abs().max() > 0.05


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (PROMPTS[0], "Tokyo"),
        (PROMPTS[2], "Washington"),
        (PROMPTS[3], "1945"),
        (PROMPTS[4], "Leonardo da Vinci"),
    ],
)
def test_published_prompts_are_answered(subject: Subject, prompt: str, answer: str) -> None:
    (text,) = subject.continuations([prompt], 8).texts
    assert re.search(rf"\b{answer}\b", text), text


def test_card_shows_measured_figures(subject: Subject) -> None:
    from probes.training.embedding import group_figures
    from probes.training.evaluate import next_token_figures
    from probes.training.train import embedding_rows

    rows = embedding_rows(subject.model).detach()
    card = (EMBEDDED / "README.md").read_text("utf-8")
    lines = dict(re.findall(r"^\| (.+?) \| (.+) \|$", card, re.MULTILINE))
    for figure in (*next_token_figures(subject), *group_figures(rows, subject.tokenizer)):
        assert _numbers(lines[figure.name]) == pytest.approx(_numbers(figure.value), abs=0.011)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
