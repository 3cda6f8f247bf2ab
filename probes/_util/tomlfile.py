"""Read TOML files, and refuse what is wrong in a user's file in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from probes._util.jsonfile import MEBIBYTE, read_bytes
from probes._util.text import quote
from probes.errors import UserError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file of this package, known to be right."""
    content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    return content


def read_toml(file: Path) -> dict[str, Any]:
    """Read a user's TOML file of at most 1 MiB, or raise UserError."""
    try:
        content: dict[str, Any] = tomllib.loads(read_bytes(file, MEBIBYTE).decode("utf-8"))
    except RecursionError:
        raise UserError(f"{file} is nested too deeply to be read") from None
    except ValueError as error:
        raise UserError(f"{file} is not valid TOML: {error}") from None
    return content


def refuse_unknown(table: Iterable[str], known: list[str], where: str) -> None:
    """Refuse an unknown key, and name the nearest known one.

    >>> refuse_unknown(["questions"], ["question"], "file")
    Traceback (most recent call last):
    probes.errors.UserError: file: unknown key 'questions'; did you mean 'question'? known keys: ...
    """
    for key in table:
        if key not in known:
            raise UserError(
                f"{where}: unknown key {quote(key)}{did_you_mean(key, known) or ';'} "
                f"known keys: {', '.join(known)}"
            )
