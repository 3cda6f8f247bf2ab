"""Inspect a model's folder before anything is loaded from it.

Configuration, tokenizer and the headers of the weights are read and compared with each other, so
that a damaged or hostile folder is refused in one line, and before memory is taken for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from probes._util.jsonfile import MEBIBYTE, read_object
from probes._util.text import quote
from probes.errors import UserError
from probes.targets import gguf
from probes.targets.random_weights import describe_tensors
from probes.targets.safetensors import Tensor, find_weight_files, read_tensors
from probes.targets.tokenizer_files import TokenizerFiles, read_tokenizer_files
from probes.targets.vocabulary import SENTENCEPIECE_FILE, Vocabulary, read_vocabulary

_HASHED_WHOLE = 64 * MEBIBYTE
_HASHED_SUFFIXES = (".json", ".model", ".txt", ".jinja")

_VOCABULARY = ("vocab_size",)
_WIDTH = ("hidden_size", "n_embd", "d_model")
_DEPTH = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_OTHER_SIZES = ("intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim")
_EXPERT_WIDTH = ("moe_intermediate_size", "intermediate_size")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_LARGEST_SIZE = 2**40

_EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "embed_in.weight",
    "word_embeddings.weight",
    "tok_embeddings.weight",
    "embeddings.weight",
    "embedding.weight",
)


def find_configuration(folder: Path, random: Path | None = None) -> Path:
    """Return the file that configures a folder's network, or raise UserError.

    `random` configures a network with random weights instead.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}")
    if random and not random.is_file():
        raise UserError(f"no configuration {random}")
    file = random or folder / "config.json"
    if not file.is_file():
        raise UserError(
            f"{folder} has no config.json: expected a model's folder, as save_pretrained writes it"
        )
    return file


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The content of a model's folder, as far as it is known without loading the model."""

    folder: Path
    config: Mapping[str, Any]
    vocabulary: Vocabulary
    """What the tokenizer's own file holds."""
    tensors: Mapping[str, Tensor]
    random: Path | None = None
    """Configuration of a network with random weights; the folder then has its tokenizer only."""
    gguf: Path | None = None
    """The GGUF file that the folder was written from; the folder then has no weights."""

    @classmethod
    def inspect_gguf(cls, file: Path) -> Checkpoint:
        """Read the header of a GGUF file, or raise UserError."""
        found = gguf.unpack(file)
        return cls(found.folder, found.config, found.vocabulary, found.tensors, gguf=file)

    @classmethod
    def inspect(cls, folder: Path, random: Path | None = None) -> Checkpoint:
        """Read a folder's configuration and tokenizer, and the headers of its weights.

        A UserError refuses pickled weights, absurd sizes, files that are missing or damaged, and
        parts that do not belong together. `random` configures a network with random weights.
        """
        file = find_configuration(folder, random)
        config = read_object(file)
        _refuse_impossible_sizes(file, config)
        tensors = describe_tensors(random, config) if random else read_tensors(folder)
        checkpoint = cls(folder, config, read_vocabulary(folder), tensors, random)
        checkpoint._refuse_foreign_config()
        checkpoint._refuse_foreign_tokenizer()
        return checkpoint

    @property
    def pieces(self) -> Mapping[str, int]:
        """Every piece of the tokenizer with its id, from the tokenizer's own file."""
        return self.vocabulary.pieces

    @property
    def architecture(self) -> str | None:
        """The model class that the configuration names first."""
        names = self.config.get("architectures")
        name = names[0] if isinstance(names, list) and names else None
        return name if isinstance(name, str) else None

    @property
    def model_type(self) -> str | None:
        """The architecture by transformers' name, such as `mistral`."""
        name = self.config.get("model_type")
        return name if isinstance(name, str) else None

    @property
    def offers_remote_code(self) -> bool:
        """Whether the folder names code of its own for the model; such code is never run."""
        code = self.config.get("auto_map")
        return isinstance(code, dict) and "AutoModelForCausalLM" in code

    @cached_property
    def stored_as(self) -> str | None:
        """How a GGUF file's weights are quantized; None of a folder, or if they are not."""
        return None if self.gguf is None else gguf.read_header(self.gguf).stored_as

    @property
    def stored_quantization(self) -> str | None:
        """The method by which the stored weights are quantized, such as `bitsandbytes`."""
        stored = self.config.get("quantization_config")
        if not isinstance(stored, dict):
            return None
        method = stored.get("quant_method", "unknown")
        return method if isinstance(method, str) else quote(method)

    @property
    def sentencepiece_file(self) -> Path | None:
        """The SentencePiece model of the tokenizer, if the folder holds it."""
        file = self.folder / SENTENCEPIECE_FILE
        if not file.is_file():
            return None
        # Other tokenizers use the same name: a SentencePiece model begins with its first piece,
        # a field with this tag.
        with file.open("rb") as stream:
            return file if stream.read(1) == b"\n" else None

    @cached_property
    def promises_bos(self) -> bool:
        """Whether the tokenizer's files say that encoding begins with a BOS token."""
        bos = self.tokenizer_files.special_token("bos")
        return bos is not None and bos in self.tokenizer_files.promise.around.before

    @cached_property
    def tokenizer_files(self) -> TokenizerFiles:
        """What the tokenizer's files promise."""
        origin = {} if self.gguf is None else {"origin": f"its file {self.gguf.name}"}
        return read_tokenizer_files(self.folder, self.vocabulary.parts, **origin)

    @property
    def parameters(self) -> int:
        """Number of stored elements; tied weights count as often as they are stored."""
        return sum(tensor.elements for tensor in self.tensors.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes of the stored tensors."""
        return sum(tensor.bytes for tensor in self.tensors.values())

    @cached_property
    def embedding_rows(self) -> int | None:
        """Rows of the stored input embedding, or else of the configured one."""
        for ending in _EMBEDDINGS:
            for name, tensor in self.tensors.items():
                if f".{name}".endswith(f".{ending}") and len(tensor.shape) == 2:
                    return tensor.shape[0]
        return _find_size(text_config(self.config), _VOCABULARY) or None

    def fingerprint(self) -> str:
        """Return the SHA-256, in hex, over names, sizes and contents of the model's files.

        Of weight files above 64 MiB only the header is hashed: 14 GB would take longer than the
        claims.
        """
        if self.gguf is not None:
            return gguf.fingerprint(self.gguf)
        digest = hashlib.sha256()
        for file in self._files():
            size = file.stat().st_size
            digest.update(f"{file.name}\0{size}\0".encode())
            with file.open("rb") as stream:
                header = int.from_bytes(stream.read(8), "little") + 8
                stream.seek(0)
                rest = size if size <= _HASHED_WHOLE else min(header, size)
                while rest and (chunk := stream.read(min(rest, MEBIBYTE))):
                    digest.update(chunk)
                    rest -= len(chunk)
        return digest.hexdigest()

    def _files(self) -> list[Path]:
        small = [
            file
            for file in self.folder.iterdir()
            if file.suffix in _HASHED_SUFFIXES and file.is_file()
        ]
        weights = [self.random] if self.random else find_weight_files(self.folder)
        return sorted({*small, *weights})

    def _refuse_foreign_config(self) -> None:
        config = text_config(self.config)
        vocab_size, width, depth, experts, inner = (
            _find_size(config, names)
            for names in (_VOCABULARY, _WIDTH, _DEPTH, _EXPERTS, _EXPERT_WIDTH)
        )
        # A layer has at least four square matrices' worth of weights, and no known quantization
        # stores a weight in less than one bit: a configuration that implies more than twice
        # the stored bytes does not describe these weights. A layer has a tensor of its own, an
        # expert a matrix of at least one bit a weight.
        stored, tensors = self.weight_bytes, len(self.tensors)
        implied = (vocab_size + depth * width) * width // 4
        if max(implied, experts * inner * width // 8) > stored or depth > tensors:
            with_experts = f" with {experts:,} experts" if experts else ""
            raise UserError(
                f"{self.folder / 'config.json'} describes a model of depth {depth:,}, width "
                f"{width:,} and vocabulary {vocab_size:,}{with_experts}, but its weights are "
                f"{tensors:,} tensors of {stored:,} bytes: the two do not belong together"
            )

    def _refuse_foreign_tokenizer(self) -> None:
        rows = self.embedding_rows
        piece, largest = max(self.pieces.items(), key=lambda item: item[1])
        if rows is not None and largest >= rows:
            raise UserError(
                f"{self.folder}: the tokenizer has ids up to {largest:,} ({quote(piece)}), "
                f"but the embedding has {rows:,} rows, for ids up to {rows - 1:,}: use the "
                "tokenizer the model was trained with, or resize the embedding and save it"
            )


def _refuse_impossible_sizes(file: Path, config: Mapping[str, Any]) -> None:
    for part in (config, text_config(config)):
        for key in (*_VOCABULARY, *_WIDTH, *_DEPTH, *_OTHER_SIZES):
            value = part.get(key)
            if value is None or (key in _OTHER_SIZES and isinstance(value, list)):
                continue
            if type(value) is not int or not 0 < value <= _LARGEST_SIZE:
                raise UserError(
                    f"{file}: {key} is {quote(value)}, "
                    f"expected a whole number from 1 to {_LARGEST_SIZE:,}"
                )


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part about the language model, where a configuration has several parts."""
    part = config.get("text_config")
    return part if isinstance(part, dict) else config


def _find_size(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """Return the size under the first name that is set; 0 where there is none, or no number."""
    value = next((config[name] for name in names if config.get(name) is not None), None)
    return value if type(value) is int else 0
