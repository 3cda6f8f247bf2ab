"""What the claims say of tokenizers that insert, begin and pad otherwise than promised."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probes import load
from probes.measure import streamed_text, tokenizer, tokenizer_corpus, tokenizer_reload
from probes.schema.recorded_ids import RecordedIds
from tests.support import model_folders as folders

if TYPE_CHECKING:
    from probes import Model


def byte_level(folder: Path, **settings: Any) -> Model:
    """A small GPT-2 whose tokenizer's configuration is changed after it was saved."""
    folders.gpt2(folder)
    folders.change_json(folder / "tokenizer_config.json", lambda file: file.update(settings))
    return load(str(folder))


def test_lost_bos_names_the_files_that_contradict_each_other(tmp_path: Path) -> None:
    model = byte_level(tmp_path / "asks", add_bos_token=True)
    found = tokenizer.encode_to_pieces(model, "")
    said = tokenizer.find_wrong_insertion(model, found)
    if found.ids:  # a transformers that follows the configuration
        assert said == ""
    else:
        assert said.startswith(
            "'' begins with [], not with BOS: tokenizer_config.json asks for BOS (add_bos_token), "
            "the post-processor of tokenizer.json inserts none; transformers "
        )
        assert said.endswith(" inserts none")


def test_insertion_that_no_file_promises_is_named(tmp_path: Path) -> None:
    model = byte_level(tmp_path / "silent")
    found = tokenizer.encode_to_pieces(model, "<|endoftext|>Hi")  # as if it had been inserted
    assert tokenizer.find_wrong_insertion(model, found) == (
        "'<|endoftext|>Hi' has the special tokens ['<|endoftext|>'] around it, not []: "
        "none of its files asks for special tokens around a text"
    )


def test_declared_bos_is_promised(tmp_path: Path) -> None:
    model = byte_level(tmp_path / "declared")
    model.target = model.target.model_copy(update={"provides": ("bos",)})
    promise = tokenizer.read_promise(model)
    assert promise.around.before == ("<|endoftext|>",)
    assert promise.source == "its target declares it"


def test_pad_token_and_side_are_those_of_the_files(tmp_path: Path) -> None:
    model = byte_level(tmp_path / "pads", pad_token="<|endoftext|>", padding_side="left")
    texts = ["a", "a longer text"]
    assert tokenizer.read_padding(model, texts).problem == ""
    model.tokenizer.padding_side = "right"
    assert tokenizer.read_padding(model, texts).problem == (
        "the tokenizer pads on the right, its files say left"
    )
    model.tokenizer.pad_token = None
    assert tokenizer.read_padding(model, texts).problem == (
        "the tokenizer pads with None, its files say '<|endoftext|>'"
    )


def test_space_that_no_file_adds_is_named(tmp_path: Path) -> None:
    from tokenizers import pre_tokenizers

    model = byte_level(tmp_path / "adds")
    assert tokenizer.find_wrong_beginning(model, "Hello") == ""
    backend: Any = model.tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert tokenizer.find_wrong_beginning(model, "Hello").startswith("'Hello' begins with ['Ġ")


def test_changed_ids_are_described_by_the_first_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_corpus, "STEP", 10)
    model = byte_level(tmp_path / "ids")
    encoding = tokenizer_corpus.encode_corpus(model)
    now = tokenizer_corpus.record_ids(model)
    assert tokenizer_corpus.describe_change(encoding, now, now) == ""
    other = [*encoding.ids]
    other[now.kept[1]] = [7, *other[now.kept[1]]]
    said = tokenizer_corpus.describe_change(encoding, RecordedIds.pack(encoding.texts, other), now)
    assert said.startswith("ids changed of 1 of 3,200 texts: ")
    assert f"not {other[now.kept[1]][:6]}" in said


def test_reload_names_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = byte_level(tmp_path / "reload")
    monkeypatch.setattr(tokenizer_reload, "TEXTS", 10)
    again = tokenizer_reload.save_and_reload(model)
    assert (again.differing, again.changed, again.foreign) == ([], {}, [])
    model.tokenizer.padding_side = "left"
    changed = tokenizer_reload.save_and_reload(model).changed
    assert changed in ({}, {"padding_side": ("left", "right")})  # some versions save it


@pytest.mark.parametrize("way", streamed_text.STREAMS)
def test_byte_level_text_is_streamed_whole(way: str, tmp_path: Path) -> None:
    model = byte_level(tmp_path / "streams")
    streamed = streamed_text.STREAMS[way](model, model.encode("def f():\n    return 日本\n"))
    assert streamed is None or streamed.is_same
    assert not streamed_text.forgets_indentation(model)


def test_indentation_is_the_only_text_that_a_streamer_loses() -> None:
    model = load("embedded")
    streamed = streamed_text.stream_by_text_streamer(model, model.encode("a:\n    b"))
    assert streamed.whole == "a:\n    b"
    assert streamed.joined in ("a:\n   b", "a:\n    b")


def test_embedded_folder_is_left_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(load("embedded").checkpoint.folder, folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    tokenizer_reload.save_and_reload(load(str(folder)))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert json.loads(before["tokenizer_config.json"])
