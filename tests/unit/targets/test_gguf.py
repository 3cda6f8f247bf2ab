from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from probes.errors import UserError
from probes.targets.checkpoint import Checkpoint
from probes.targets.gguf import read_header, unpack

TOKENS = ["<unk>", "<s>", "</s>", "▁a"]
METADATA = {
    "general.architecture": "gemma3",
    "gemma3.embedding_length": 4,
    "gemma3.attention.sliding_window": 512,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.merges": ["a b", "b c"],
    "tokenizer.ggml.scores": [0.5, 1.5],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 9,
    "tokenizer.chat_template": "{{ messages }}",
}


def pack_text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def pack_value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + pack_text(value)
    if isinstance(value, list):
        kind = 8 if isinstance(value[0], str) else 6
        items = [pack_text(e) if kind == 8 else struct.pack("<f", e) for e in value]
        return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(items)
    return struct.pack("<II", 4, value)


def pack(metadata: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> bytes:
    """Return a GGUF file's header."""
    values = [pack_text(key) + pack_value(value) for key, value in metadata.items()]
    tensors = [
        pack_text(name)
        + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        + struct.pack("<IQ", 2, 0)
        for name, shape in shapes.items()
    ]
    beginning = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    return b"".join([beginning, *values, *tensors])


SOUND = pack(METADATA, {"token_embd.weight": (4, 32), "output.weight": (4, 32)})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(SOUND)
    return file


def test_header_has_tokens_and_shapes(file: Path) -> None:
    header = read_header(file)
    assert header.tokens == TOKENS
    assert header.shapes == {"token_embd.weight": (4, 32), "output.weight": (4, 32)}
    assert "tokenizer.ggml.merges" not in header.metadata


def test_checkpoint_says_what_the_file_says(file: Path) -> None:
    checkpoint = Checkpoint.inspect_gguf(file)
    assert checkpoint.config["rope_local_base_freq"] == 10000
    assert not checkpoint.config["tie_word_embeddings"]
    assert (checkpoint.parameters, checkpoint.weight_bytes) == (256, 1024)
    assert checkpoint.promises_bos  # llama.cpp inserts it for this kind of tokenizer
    files = checkpoint.tokenizer_files
    assert files.promise.source == "its file model.gguf says so (add_bos_token)"
    assert files.special_token("eos") is None  # there is no token 9
    assert files.settings["chat_template"] == "{{ messages }}"
    assert [each.name for each in unpack(file).weights.iterdir()] == ["model.gguf"]


def test_every_truncation_is_one_line(file: Path) -> None:
    for end in range(4, len(SOUND), 3):
        file.write_bytes(SOUND[:end])
        with pytest.raises(UserError, match=r"is truncated or corrupt: "):
            read_header(file)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "its version is 1, expected 2 or 3"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60), "has 1,152,921,504,606,846,976 bytes"),
        (pack({"k": 1}, {})[:-8] + struct.pack("<II", 99, 0), "has the unknown type 99"),
        (
            pack({"k": 1}, {})[:-8] + struct.pack("<IIQ", 9, 6, 2**61),
            "has 2,305,843,009,213,693,952 numbers",
        ),
        (pack({"k": 1}, {})[:-8] + struct.pack("<IIQ", 9, 9, 2), "unknown type 9"),
    ],
)
def test_absurd_sizes_are_one_line(file: Path, data: bytes, message: str) -> None:
    file.write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_header(file)


@pytest.mark.parametrize(
    ("metadata", "shapes", "message"),
    [
        ({"general.architecture": "clip"}, {"a": (1,)}, "has no tokens: it is no language model"),
        ({"tokenizer.ggml.tokens": 5}, {"a": (1,)}, "has no tokens: it is no language model"),
        (METADATA, {}, "has no tensors"),
    ],
)
def test_file_without_a_model_is_refused(
    file: Path, metadata: dict[str, Any], shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    file.write_bytes(pack(metadata, shapes))
    with pytest.raises(UserError, match=message):
        unpack(file)
