from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from probes.errors import UserError
from probes.targets import chat_templates
from probes.targets.chat_templates import explain_missing_template, read_chat_templates


def write(folder: Path, *, settings: Any = None, file: bytes | None = None) -> Path:
    if settings is not None:
        text = json.dumps({"chat_template": settings})
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    if file is not None:
        (folder / "chat_template.jinja").write_bytes(file)
    return folder


def test_file_of_its_own_comes_before_the_settings(tmp_path: Path) -> None:
    assert read_chat_templates(write(tmp_path, settings="old", file=b"new")) == {"default": "new"}


def test_several_templates_are_read_by_name(tmp_path: Path) -> None:
    several = [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}]
    assert read_chat_templates(write(tmp_path, settings=several)) == {"default": "a", "rag": "b"}


def test_more_templates_are_beside_the_file(tmp_path: Path) -> None:
    others = write(tmp_path, file=b"a") / "additional_chat_templates"
    others.mkdir()
    (others / "tool_use.jinja").write_text("b", encoding="utf-8")
    assert read_chat_templates(tmp_path) == {"default": "a", "tool_use": "b"}


def test_old_transformers_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_templates, "version", lambda _: "4.46.3")
    assert explain_missing_template(write(tmp_path, file=b"new")) == (
        "transformers 4.46.3 does not read its chat template from chat_template.jinja"
    )
    assert read_chat_templates(write(tmp_path, settings="old", file=b"new")) == {"default": "old"}


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not UTF-8"):
        read_chat_templates(write(tmp_path, file=b"\xff"))
