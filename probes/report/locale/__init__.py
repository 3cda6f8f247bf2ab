"""The texts of reports, in each of their languages.

They are in `LANGUAGE/*.toml`, a table for each part of a page; every language has the same keys.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from probes._util.files import PACKAGE
from probes._util.tomlfile import load_toml

LANGUAGES = {"en": "English", "ja": "日本語"}
"""Languages by their code, each named in itself; the first is the default."""


@cache
def texts(language: str) -> dict[str, str]:
    """Return all texts of a language by key, `TABLE.KEY`.

    >>> texts("en")["page.skip"]
    'Skip to the content'
    """
    found: dict[str, str] = {}
    for file in (PACKAGE / "report" / "locale" / language).glob("*.toml"):
        found |= _flatten(load_toml(file))
    return found


def _flatten(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat |= _flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def phrase(key: str, language: str = "en", **values: object) -> str:
    """Return a text in one language, with its braces filled.

    >>> phrase("count.check.many", n=3)
    '3 checks'
    """
    return texts(language)[key].format(**values)
