"""Folders that look like models, written by hand: no library under test has a part in them."""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

VOCABULARY, WIDTH = 16, 4
BYTES = {"F16": 2, "F32": 4, "U8": 1}

CONFIG = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
}
TENSORS = {"model.embed_tokens.weight": ("F16", [VOCABULARY, WIDTH]), "model.norm": ("F32", [4])}
PIECES = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁a": 3}
TOKENIZER = {
    "model": {"type": "BPE", "vocab": PIECES, "merges": []},
    "added_tokens": [{"id": 1, "content": "<s>"}, {"id": 15, "content": "<pad>"}],
}


def safetensors(tensors: Mapping[str, tuple[str, list[int]]]) -> bytes:
    """A safetensors file with zeros for every element."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    return with_header(json.dumps(entries).encode()) + bytes(end)


def with_header(header: bytes) -> bytes:
    """The beginning of a safetensors file: the header's length and the header."""
    return struct.pack("<Q", len(header)) + header


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a sound model folder; each keyword replaces a file's content, None leaves it out."""

    def make(name: str = "model", **files: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        contents = {
            "config.json": CONFIG,
            "tokenizer.json": TOKENIZER,
            "model.safetensors": safetensors(TENSORS),
        }
        for file, content in (contents | files).items():
            if content is not None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                (folder / file).write_bytes(data)
        return folder

    return make


@pytest.fixture
def pack() -> Callable[[Mapping[str, tuple[str, list[int]]]], bytes]:
    """`safetensors`, for tests."""
    return safetensors


@pytest.fixture
def pack_header() -> Callable[[bytes], bytes]:
    """`with_header`, for tests."""
    return with_header
