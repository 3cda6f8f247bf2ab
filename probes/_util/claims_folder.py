"""Where the tests that decide the built-in claims are."""

from __future__ import annotations

from pathlib import Path

from probes._util.files import PACKAGE
from probes.errors import UserError

_INSTALLED = PACKAGE / "_claims"


def claims_folder() -> Path:
    """Return the folder of the claims' tests: in an installed package, or in the clone."""
    for folder in (_INSTALLED, PACKAGE.parent / "tests" / "claims"):
        if (folder / "test_recorded.py").is_file():
            return folder
    raise UserError(
        "the tests that decide the claims are not installed with the package: install it again"
    )


def is_installed(file: Path) -> bool:
    """Return whether a file belongs to the installed claims, which no run may change."""
    return file.is_relative_to(_INSTALLED)
