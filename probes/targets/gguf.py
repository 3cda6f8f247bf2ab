"""Read the header of a GGUF file: metadata, and names and shapes of its tensors, but no weight.

A file is its magic, a version, two counts, the metadata, an entry for each tensor, and their bytes.
Every length is checked before memory is taken for it.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import mmap
import shutil
import struct
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from probes._util.jsonfile import MEBIBYTE
from probes._util.text import quote
from probes.errors import UserError
from probes.targets.safetensors import Tensor
from probes.targets.tokenizer_files import SETTINGS_FILE
from probes.targets.vocabulary import Vocabulary

MAGIC = b"GGUF"

HASHED = 64 * MEBIBYTE
"""Bytes of a file that its fingerprint covers."""

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_NUMBERS[12] = "d"
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4

_SIZES = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "rope.freq_base": "rope_theta",
}
"""Metadata of an architecture, and the keys of a config.json that mean the same."""

_SLIDING_BASE = {"gemma3": 10000.0}
"""Base of the rotary positions of layers with a window, which llama.cpp knows and no file names."""


class Header(NamedTuple):
    """What a file says before its weights."""

    metadata: Mapping[str, Any]
    """Values by key; of arrays the tokens alone."""
    shapes: Mapping[str, tuple[int, ...]]
    """The shape of each tensor, the slowest dimension first."""

    @property
    def architecture(self) -> str:
        """The architecture by llama.cpp's name, such as `llama`."""
        return str(self.metadata.get("general.architecture"))

    @property
    def stored_as(self) -> str | None:
        """How most of its weights are quantized, by llama.cpp's name; None if they are not."""
        from gguf import LlamaFileType

        try:
            kind = LlamaFileType(int(self.metadata.get("general.file_type", -1))).name
        except ValueError:  # none is stated, or one that this version of the package does not know
            return None
        name = kind.removeprefix("MOSTLY_").removeprefix("ALL_")
        return None if name in ("F32", "F16", "BF16", "GUESSED") else name

    @property
    def tokens(self) -> list[str]:
        """The pieces of its tokenizer, in the order of their ids."""
        found = self.metadata.get("tokenizer.ggml.tokens")
        return list(found) if isinstance(found, list) else []


def check_magic(file: Path) -> None:
    """Raise UserError if there is no such file, or its first bytes are not those of GGUF."""
    if not file.is_file():
        raise UserError(f"no file {file}")
    try:
        with file.open("rb") as stream:
            beginning = stream.read(len(MAGIC))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from None
    if beginning != MAGIC:
        raise UserError(f"{file} is no GGUF file: its first bytes are not GGUF")


def fingerprint(file: Path) -> str:
    """Return the SHA-256, in hex, over a file's size and its first 64 MiB."""
    digest = hashlib.sha256(f"{file.stat().st_size}\0".encode())
    with file.open("rb") as stream:
        digest.update(stream.read(HASHED))
    return digest.hexdigest()


def read_header(file: Path) -> Header:
    """Read a file's header, or raise UserError."""
    check_magic(file)
    try:
        with (
            file.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _Reader(data).read()
    except (struct.error, ValueError, OverflowError) as error:
        raise UserError(f"{file} is truncated or corrupt: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from None


class _Reader:
    """Reads values one after another."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, len(MAGIC)

    def read(self) -> Header:
        version, tensors, values = self.numbers("IQQ")
        if version not in (2, 3):
            raise ValueError(f"its version is {version}, expected 2 or 3")
        metadata: dict[str, Any] = {}
        for _ in range(values):
            key = self.text()
            value = self.value(self.numbers("I")[0], keep=key.endswith(".tokens"))
            if value is not None:
                metadata[key] = value
        return Header(metadata, dict(self.shape() for _ in range(tensors)))

    def shape(self) -> tuple[str, tuple[int, ...]]:
        name, (dimensions,) = self.text(), self.numbers("I")
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"tensor {quote(name)} has {dimensions} dimensions")
        shape = tuple(reversed(self.numbers(f"{dimensions}Q")))
        self.numbers("IQ")  # how it is stored, and where
        return name, shape

    def numbers(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def text(self) -> str:
        return self.data[self.skip_text() : self.at].decode("utf-8", errors="replace")

    def skip_text(self) -> int:
        """Go past a text; return where it begins."""
        (length,) = self.numbers("Q")
        begin = self.at
        if length > len(self.data) - begin:
            raise ValueError(f"a text at byte {begin:,} has {length:,} bytes, more than are left")
        self.at += length
        return begin

    def value(self, kind: int, *, keep: bool) -> Any:
        if kind in _NUMBERS:
            return self.numbers(_NUMBERS[kind])[0]
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise ValueError(f"a value at byte {self.at:,} has the unknown type {kind}")
        inner, count = self.numbers("IQ")
        if inner == _STRING:
            if keep:
                return [self.text() for _ in range(count)]
            for _ in range(count):
                self.skip_text()
        elif inner in _NUMBERS:
            size = count * struct.calcsize(f"<{_NUMBERS[inner]}")
            if size > len(self.data) - self.at:
                raise ValueError(f"an array at byte {self.at:,} has {count:,} numbers")
            self.at += size
        else:
            raise ValueError(f"an array at byte {self.at:,} has the unknown type {inner}")
        return None


# --- what transformers is to make of it ----------------------------------------------------------


class Unpacked(NamedTuple):
    """A folder with what a file says, as far as claims compare it with what transformers does."""

    folder: Path
    """It has a config.json and a tokenizer_config.json, and goes with this process."""
    weights: Path
    """A folder in which the file is alone: what else is beside it would be read too."""
    config: dict[str, Any]
    vocabulary: Vocabulary
    tensors: dict[str, Tensor]
    """In float32, as transformers stores what it dequantizes."""


@cache
def unpack(file: Path) -> Unpacked:
    """Write what a file says of its configuration and tokenizer into a folder; once a process."""
    header = read_header(file)
    tokens = header.tokens
    if not tokens:
        raise UserError(f"{file} has no tokens: it is no language model")
    if not header.shapes:
        raise UserError(f"{file} has no tensors: copy or download it again")
    folder = Path(tempfile.mkdtemp(prefix="probes-gguf-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config = describe_config(header)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    settings = json.dumps(describe_tokenizer(header))
    (folder / SETTINGS_FILE).write_text(settings, encoding="utf-8")
    weights = folder / "weights"
    weights.mkdir()
    try:
        (weights / file.name).symlink_to(file.resolve())
    except OSError:  # links are not allowed here
        weights = file.parent
    pieces = {piece: number for number, piece in enumerate(tokens)}
    tensors = {name: Tensor("F32", shape) for name, shape in header.shapes.items()}
    return Unpacked(folder, weights, config, Vocabulary(pieces, None), tensors)


def describe_config(header: Header) -> dict[str, Any]:
    """Return what a file says of its network, by the keys of a config.json.

    >>> metadata = {"general.architecture": "llama", "llama.embedding_length": 576}
    >>> describe_config(Header(metadata, {"output.weight": (8, 576)}))["hidden_size"]
    576
    """
    metadata, own = header.metadata, f"{header.architecture}."
    found = {ours: metadata[own + key] for key, ours in _SIZES.items() if own + key in metadata}
    if header.architecture in _SLIDING_BASE and "sliding_window" in found:
        base = metadata.get(f"{own}rope.freq_base_swa", _SLIDING_BASE[header.architecture])
        found["rope_local_base_freq"] = base
    kind = metadata.get(f"{own}rope.scaling.type", "none")
    if "rope_freqs.weight" in header.shapes:
        found["rope_scaling"] = {"rope_type": "rope_freqs.weight"}
    elif kind != "none":
        names = {"factor": "factor", "original_context_length": "original_max_position_embeddings"}
        given = {ours: metadata.get(f"{own}rope.scaling.{key}") for key, ours in names.items()}
        found["rope_scaling"] = {"rope_type": kind, **given}
    ids = {"bos": "bos", "eos": "eos", "pad": "padding"}
    for ours, key in ids.items():
        if isinstance(number := metadata.get(f"tokenizer.ggml.{key}_token_id"), int):
            found[f"{ours}_token_id"] = number
    return {
        "model_type": header.architecture,
        "vocab_size": len(header.tokens),
        "tie_word_embeddings": "output.weight" not in header.shapes,
        **found,
    }


def describe_tokenizer(header: Header) -> dict[str, Any]:
    """Return what a file says of its tokenizer, by the keys of a tokenizer_config.json.

    Where it does not say whether BOS is inserted, llama.cpp inserts it for tokenizers of the kind
    `llama`, SentencePiece's.

    >>> metadata = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.bos_token_id": 1}
    >>> metadata["tokenizer.ggml.tokens"] = ["<unk>", "<s>"]
    >>> found = describe_tokenizer(Header(metadata, {}))
    >>> found["bos_token"], found["add_bos_token"]
    ('<s>', True)
    """
    metadata, tokens = header.metadata, header.tokens
    found: dict[str, Any] = {"backend": "tokenizers"}  # transformers writes its tokenizer.json
    ids = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    for ours, key in ids.items():
        number = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if isinstance(number, int) and 0 <= number < len(tokens):
            found[f"{ours}_token"] = tokens[number]
    for which in ("bos", "eos"):
        asked = metadata.get(f"tokenizer.ggml.add_{which}_token")
        if asked is None and which == "bos" and metadata.get("tokenizer.ggml.model") == "llama":
            asked = True
        if asked is not None:
            found[f"add_{which}_token"] = bool(asked)
    if template := metadata.get("tokenizer.chat_template"):
        found["chat_template"] = template
    return found
