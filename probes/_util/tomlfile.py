"""TOML files that a user writes, read so that whatever is wrong is told in one line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from probes._util.jsonfile import MEBIBYTE, shown
from probes.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(file: Path, name: str, holds: str) -> dict[str, Any]:
    """What a TOML file of at most 1 MiB holds.

    Args:
        file: Where it is.
        name: What it is called: "words" is "a words file".
        holds: What it should hold, in words.

    Raises:
        UserError: The file cannot be read, is too large, or is not TOML.
    """
    try:
        if file.stat().st_size > MEBIBYTE:
            raise UserError(f"{file} is larger than 1 MiB: a {name} file holds {holds} only")
        content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the {name} in {file}: {error.strerror}") from None
    except RecursionError:
        raise UserError(f"{file} is not a {name} file: it is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{file} is not valid TOML: {error}") from None
    return content


def refuse_unknown(table: Iterable[str], known: list[str], where: str) -> None:
    """Refuse a key that means nothing, and name the nearest that does.

    >>> refuse_unknown(["questions"], ["question"], "file")
    Traceback (most recent call last):
    probes.errors.UserError: file: unknown key 'questions'; did you mean 'question'? known keys: ...
    """
    for key in table:
        if key not in known:
            raise UserError(
                f"{where}: unknown key {shown(key)}{did_you_mean(key, known) or ';'} "
                f"known keys: {', '.join(known)}"
            )
