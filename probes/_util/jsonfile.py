"""Read JSON objects from files of unknown origin, with a size limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from probes._util.garbage import pause_cycle_search
from probes.errors import UserError

MEBIBYTE = 1024 * 1024


def read_object(file: Path, *, limit: int = 16 * MEBIBYTE) -> dict[str, Any]:
    """Read the JSON object in a file of at most `limit` bytes, or raise UserError."""
    return parse_object(read_bytes(file, limit), what=str(file))


def read_bytes(file: Path, limit: float) -> bytes:
    """Read a file of at most `limit` bytes, or raise UserError.

    A pipe or device is refused: reading one could wait for ever.
    """
    try:
        if not file.is_file():
            raise UserError(f"{file} is missing or not a regular file")
        size = file.stat().st_size
        if size > limit:
            raise UserError(
                f"{file} has {size:,} bytes, more than the {limit:,} that such a file may have"
            )
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None


def parse_object(data: bytes, *, what: str) -> dict[str, Any]:
    """Parse the JSON object in UTF-8 encoded bytes; `what` names them in a refusal.

    >>> parse_object(b'{"vocab_size": 32', what="config.json")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    probes.errors.UserError: config.json is truncated or not JSON: Expecting ',' delimiter: ...
    """
    try:
        with pause_cycle_search():
            content = json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise UserError(f"{what} is nested too deeply to be read") from None
    except ValueError as error:
        raise UserError(f"{what} is truncated or not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{what} should hold a JSON object, got {type(content).__name__}")
    return content
