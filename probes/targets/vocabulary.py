"""Read the pieces of a tokenizer and their ids from its own files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from probes._util.jsonfile import MEBIBYTE, read_object
from probes.errors import UserError
from probes.schema.base import format_validation_error

TOKENIZER_FILE = "tokenizer.json"
SENTENCEPIECE_FILE = "tokenizer.model"

LARGEST_TOKENIZER = 256 * MEBIBYTE
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens")
_MODEL_PARTS = ("type", "unk_token", "byte_fallback")
_PIECES = TypeAdapter(dict[str, Annotated[int, Field(strict=True, ge=0)]])


class Vocabulary(NamedTuple):
    """What a folder's own file says of its tokenizer."""

    pieces: Mapping[str, int]
    """Every piece with its id, special tokens included."""
    parts: Mapping[str, Any] | None
    """Parts of tokenizer.json, its vocabulary left out; None where another file was read."""


def find_tokenizer_file(folder: Path) -> Path:
    """Return the file with the folder's pieces, in the order in which transformers looks for it."""
    for name in _READERS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} has no tokenizer: expected {', '.join(_READERS)}")


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read the pieces of the folder's tokenizer, and the parts of its tokenizer.json if it has one.

    The file may have 30 MB: it is read and parsed once for both.
    """
    file = find_tokenizer_file(folder)
    vocabulary = _READERS[file.name](file)
    if not vocabulary.pieces:
        raise UserError(f"{file} holds no pieces")
    return vocabulary


def read_pieces(folder: Path) -> Mapping[str, int]:
    """Read every piece of the folder's tokenizer with its id, special tokens included."""
    return read_vocabulary(folder).pieces


def read_parts(file: Path) -> dict[str, Any]:
    """Read the parts of a tokenizer.json, its vocabulary left out."""
    return _pick_parts(read_object(file, limit=LARGEST_TOKENIZER))


def _pick_parts(content: Mapping[str, Any]) -> dict[str, Any]:
    model = content.get("model")
    model = model if isinstance(model, dict) else {}
    parts = {name: content.get(name) for name in _PARTS}
    return parts | {"model": {name: model.get(name) for name in _MODEL_PARTS}}


def _read_tokenizer_json(file: Path) -> Vocabulary:
    content = read_object(file, limit=LARGEST_TOKENIZER)
    try:
        vocabulary = content["model"]["vocab"]
        if isinstance(vocabulary, list):  # of a unigram model: pieces with their scores
            vocabulary = {entry[0]: i for i, entry in enumerate(vocabulary)}
        added = {token["content"]: token["id"] for token in content.get("added_tokens") or []}
    except (TypeError, LookupError):
        raise UserError(f"{file} is corrupt: it has no vocabulary from pieces to ids") from None
    pieces = _check_pieces(file, vocabulary) | _check_pieces(file, added)
    return Vocabulary(pieces, _pick_parts(content))


def _read_vocab_json(file: Path) -> Vocabulary:
    pieces = _check_pieces(file, read_object(file, limit=LARGEST_TOKENIZER))
    return Vocabulary(pieces | _read_added(file), None)


def _read_sentencepiece(file: Path) -> Vocabulary:
    try:
        import sentencepiece
    except ImportError:
        raise UserError(
            f"{file} can only be read with the package sentencepiece: install it, "
            "or save the tokenizer as tokenizer.json"
        ) from None
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(file))
        size: int = model.vocab_size()
    except (OSError, RuntimeError):
        raise UserError(f"{file} is truncated or no SentencePiece model") from None
    pieces = {model.id_to_piece(i): i for i in range(size)}
    return Vocabulary(pieces | _read_added(file), None)


def _read_added(file: Path) -> dict[str, int]:
    added = file.with_name("added_tokens.json")
    return _check_pieces(added, read_object(added)) if added.is_file() else {}


def _check_pieces(file: Path, pieces: Any) -> dict[str, int]:
    try:
        return _PIECES.validate_python(pieces)
    except ValidationError as error:
        raise UserError(
            f"{file} is corrupt: the id of piece {format_validation_error(error)}"
        ) from None


_READERS: dict[str, Callable[[Path], Vocabulary]] = {
    TOKENIZER_FILE: _read_tokenizer_json,
    SENTENCEPIECE_FILE: _read_sentencepiece,
    "vocab.json": _read_vocab_json,
}
