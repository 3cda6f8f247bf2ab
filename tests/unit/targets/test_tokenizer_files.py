"""What a tokenizer's files promise, by the order of the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from probes.targets.tokenizer_files import Around, read_tokenizer_files


def template(*tokens: str) -> dict[str, Any]:
    """A post-processor that puts tokens around the text, which `$` stands for."""
    single = [
        {"Sequence": {"id": "A"}} if token == "$" else {"SpecialToken": {"id": token}}
        for token in tokens
    ]
    return {"type": "TemplateProcessing", "single": single}


BYTE_LEVEL = {"type": "ByteLevel"}
ROBERTA = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}
NAMED = {"bos_token": "<s>", "eos_token": {"content": "</s>"}}


def promise(folder: Path, settings: dict[str, Any], processor: Any = None) -> Any:
    content = {"model": {"vocab": {"a": 0}}, "post_processor": processor}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return read_tokenizer_files(folder).promise


@pytest.mark.parametrize(
    ("settings", "processor", "around"),
    [
        ({}, None, Around()),
        (NAMED, BYTE_LEVEL, Around()),
        (NAMED, template("<s>", "$"), Around(("<s>",))),
        (NAMED, template("<s>", "$", "</s>"), Around(("<s>",), ("</s>",))),
        (NAMED, ROBERTA, Around(("<s>",), ("</s>",))),
        (NAMED, {"type": "Sequence", "processors": [BYTE_LEVEL, template("<s>", "$")]},
         Around(("<s>",))),
        (NAMED | {"add_bos_token": True}, template("<s>", "$"), Around(("<s>",))),
        (NAMED | {"add_bos_token": False, "add_eos_token": False}, BYTE_LEVEL, Around()),
        # Asked for, and there is no such token.
        ({"add_bos_token": True}, BYTE_LEVEL, Around()),
    ],
)  # fmt: skip
def test_files_that_agree_promise_what_they_say(
    settings: dict[str, Any], processor: Any, around: Around, tmp_path: Path
) -> None:
    found = promise(tmp_path, settings, processor)
    assert (found.around, found.contradictions) == (around, ())


@pytest.mark.parametrize(
    ("asked", "processor", "around", "contradiction"),
    [
        ({"add_bos_token": True}, BYTE_LEVEL, Around(("<s>",)),
         "tokenizer_config.json asks for BOS (add_bos_token), the post-processor of "
         "tokenizer.json inserts none"),
        ({"add_bos_token": False}, template("<s>", "$"), Around(),
         "tokenizer_config.json asks for no BOS (add_bos_token), the post-processor of "
         "tokenizer.json inserts <s>"),
        ({"add_eos_token": True}, template("<s>", "$"), Around(("<s>",), ("</s>",)),
         "tokenizer_config.json asks for EOS (add_eos_token), the post-processor of "
         "tokenizer.json inserts none"),
    ],
)  # fmt: skip
def test_configuration_wins_and_the_contradiction_is_named(
    asked: dict[str, Any], processor: Any, around: Around, contradiction: str, tmp_path: Path
) -> None:
    found = promise(tmp_path, NAMED | asked, processor)
    assert (found.around, found.contradictions) == (around, (contradiction,))


def test_class_promises_bos_where_there_is_no_tokenizer_json(tmp_path: Path) -> None:
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    found = read_tokenizer_files(tmp_path).promise
    assert found.around == Around(("<s>",))
    assert found.source == "its class, LlamaTokenizer, does so by default"


def test_special_tokens_map_names_what_the_configuration_does_not(tmp_path: Path) -> None:
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": "<pad>"}', encoding="utf-8")
    assert read_tokenizer_files(tmp_path).special_token("pad") == "<pad>"
    assert read_tokenizer_files(tmp_path).special_token("bos") is None
