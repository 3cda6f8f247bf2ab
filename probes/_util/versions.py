"""Versions of packages, and which of them a specifier names."""

from __future__ import annotations

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion


def check_specifier(text: str) -> str:
    """Return a specifier such as `>=5,<5.3`; raise ValueError for a text that is none."""
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError("names no versions: write such as '<4.47'") from None
    return text


def is_within(specifier: str, version: str) -> bool:
    """Return whether a specifier names a version; a text that is no version is in none.

    >>> is_within(">=5,<5.3", "5.2.0"), is_within(">=5,<5.3", "5.3"), is_within(">=5", "")
    (True, False, False)
    """
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidVersion:
        return False
