"""Read the pieces of a tokenizer and their ids from its own files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from probes._util.jsonfile import MEBIBYTE, read_object
from probes.errors import UserError
from probes.schema.base import format_validation_error

if TYPE_CHECKING:
    from pathlib import Path

TOKENIZER_FILE = "tokenizer.json"
SENTENCEPIECE_FILE = "tokenizer.model"

LARGEST_TOKENIZER = 256 * MEBIBYTE
_PIECES = TypeAdapter(dict[str, Annotated[int, Field(strict=True, ge=0)]])


def find_tokenizer_file(folder: Path) -> Path:
    """Return the file with the folder's pieces, in the order in which transformers looks for it."""
    for name in _READERS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} has no tokenizer: expected {', '.join(_READERS)}")


def read_pieces(folder: Path) -> dict[str, int]:
    """Read every piece of the folder's tokenizer with its id, special tokens included."""
    file = find_tokenizer_file(folder)
    pieces = _READERS[file.name](file)
    if not pieces:
        raise UserError(f"{file} holds no pieces")
    return pieces


def _read_tokenizer_json(file: Path) -> dict[str, int]:
    content = read_object(file, limit=LARGEST_TOKENIZER)
    try:
        vocabulary = content["model"]["vocab"]
        if isinstance(vocabulary, list):  # of a unigram model: pieces with their scores
            vocabulary = {entry[0]: i for i, entry in enumerate(vocabulary)}
        added = {token["content"]: token["id"] for token in content.get("added_tokens") or []}
    except (TypeError, LookupError):
        raise UserError(f"{file} is corrupt: it has no vocabulary from pieces to ids") from None
    return _check_pieces(file, vocabulary) | _check_pieces(file, added)


def _read_vocab_json(file: Path) -> dict[str, int]:
    return _check_pieces(file, read_object(file, limit=LARGEST_TOKENIZER)) | _read_added(file)


def _read_sentencepiece(file: Path) -> dict[str, int]:
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
    return {model.id_to_piece(i): i for i in range(size)} | _read_added(file)


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


_READERS: dict[str, Callable[[Path], dict[str, int]]] = {
    TOKENIZER_FILE: _read_tokenizer_json,
    SENTENCEPIECE_FILE: _read_sentencepiece,
    "vocab.json": _read_vocab_json,
}
