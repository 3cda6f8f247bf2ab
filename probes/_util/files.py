"""Where files of the package are; and files written so that no reader finds half of one."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from probes.errors import UserError

PACKAGE = Path(__file__).parents[1]

DATA = PACKAGE / "data"
"""The data files that claims are stated and decided with."""

_INSTALLED_CLAIMS = PACKAGE / "_claims"


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all; an older one is kept until then."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_output(path: Path, text: str, what: str, option: str) -> None:
    """Write a file that the user names with an option; UserError if it cannot be written."""
    try:
        write_atomically(path, text)
    except OSError as error:
        raise _unwritable(path, what, option, error) from error


def check_output(path: Path, what: str, option: str) -> None:
    """Make sure, before any work, that a file the user names with an option can be written."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise _unwritable(path, what, option, error) from error


def _unwritable(path: Path, what: str, option: str, error: OSError) -> UserError:
    return UserError(
        f"the {what} cannot be written to '{path}': {error.strerror or error}; "
        f"name another file with {option}"
    )


def sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut, where the system supports it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def claims_folder() -> Path:
    """Return the folder of the claims' tests: in an installed package, or in the clone."""
    for folder in (_INSTALLED_CLAIMS, PACKAGE.parent / "tests" / "claims"):
        if (folder / "test_recorded.py").is_file():
            return folder
    raise UserError(
        "the tests that decide the claims are not installed with the package: install it again"
    )


def is_installed(file: Path) -> bool:
    """Return whether a file belongs to the installed claims, which no run may change."""
    return file.is_relative_to(_INSTALLED_CLAIMS)
