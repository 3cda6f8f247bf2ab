"""What a model's own files ask of `generate()`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import probes
from probes.measure.generation_defaults import read_own_settings
from probes.targets.preflight import preflight
from probes.targets.resolve import resolve
from tests.claims.test_loading import test_generate_with_no_arguments_is_greedy_and_adds_20_tokens
from tests.support import model_folders as folders

PROMPT = "Once upon a time,"


def model_with(folder: Path, settings: dict[str, Any]) -> probes.Model:
    folders.qwen2(folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | settings), "utf-8")
    return probes.Model(preflight(resolve(str(folder))))


@pytest.mark.parametrize(
    ("settings", "not_greedy", "expected"),
    [
        ({}, {}, 20),
        ({"temperature": 0.6, "top_p": 0.9}, {}, 20),
        ({"do_sample": True, "temperature": 0.6}, {"do_sample": True}, 20),
        ({"max_new_tokens": 7}, {}, 7),
        ({"max_length": 24}, {}, 18),
        ({"repetition_penalty": 1.1}, {"repetition_penalty": 1.1}, 20),
    ],
)
def test_own_settings_are_read_from_the_files(
    tmp_path: Path, settings: dict[str, Any], not_greedy: dict[str, Any], expected: int
) -> None:
    own = read_own_settings(model_with(tmp_path / "model", settings))
    assert own.not_greedy == not_greedy
    assert own.expected_new_tokens(6) == expected


@pytest.mark.parametrize("settings", [{"do_sample": True, "max_new_tokens": 5}, {"max_length": 60}])
def test_default_length_holds_with_own_settings(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = model_with(tmp_path / "model", settings)
    evidence: dict[str, Any] = {}
    test_generate_with_no_arguments_is_greedy_and_adds_20_tokens(model, evidence, PROMPT)
    model.network.generation_config.max_length = 50
    model.network.generation_config.max_new_tokens = None
    with pytest.raises(AssertionError, match="tokens to a prompt of"):
        test_generate_with_no_arguments_is_greedy_and_adds_20_tokens(model, evidence, PROMPT)
