"""Where the tests that decide the built-in claims are."""

from __future__ import annotations

from pathlib import Path

from probes.errors import UserError

_PACKAGE = Path(__file__).parents[1]


def claims_folder() -> Path:
    """Return the folder of the claims' tests: in an installed package, or in the clone.

    Raises:
        UserError: The package was installed without them.
    """
    for folder in (_PACKAGE / "_claims", _PACKAGE.parent / "tests" / "claims"):
        if (folder / "test_recorded.py").is_file():
            return folder
    raise UserError(
        "the tests that decide the claims are not installed with the package: install it again"
    )
