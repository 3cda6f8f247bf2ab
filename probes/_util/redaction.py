"""Remove paths and secrets of this machine from what is stored.

A record is meant to be shared. What a test attaches or an exception says is redacted before it is
written; a mark such as ``<home>/model`` shows what was removed.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote as quote_for_address
from urllib.parse import quote_plus

from pydantic import JsonValue

from probes._util.text import quote

Rules = list[tuple[str, str]]


SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASS|_PWD|CREDENTIAL|AUTH", re.IGNORECASE)
"""Names of environment variables whose value is treated as secret."""

SHORTEST_SECRET = 8
"""Characters; a shorter value is a setting such as `true`, which many texts contain."""

GENERIC_PATHS = frozenset({"", "/", "/usr", "/usr/local", "/opt", "/mnt", "/data", "/home"})
"""Paths that are the same on many machines, and too short to be replaced safely."""

# A token of a known form; a password inside an address.
_SECRET_FORMS = [
    (r"\b(?:hf|gh[a-z]|github_pat|sk|xox[a-z]|glpat)[_-][A-Za-z0-9_-]{20,}", "<secret>"),
    (r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)", "<secret>"),
]

_ANY_HOME = [
    (r"(?<![\w.])(?:/home|/Users|[A-Za-z]:\\{1,2}Users)[/\\]{1,2}[^/\\\s'\"<>:,;]+", "<home>")
]


@dataclass(frozen=True)
class Redactor:
    r"""Replace what must not be stored by a mark that says what it was.

    >>> redactor = Redactor.from_rules([(re.escape("/srv/anna"), "<home>"), ("s3cret", "<secret>")])
    >>> redactor.redact_text("/srv/anna/model: s3cret")
    '<home>/model: <secret>'
    """

    pattern: re.Pattern[str]
    marks: tuple[str, ...]

    @classmethod
    def from_rules(cls, rules: Iterable[tuple[str, str]]) -> Redactor:
        """Combine pairs of a regular expression without groups and its mark; earlier ones win."""
        rules = tuple(rules)
        pattern = "|".join(f"({pattern})" for pattern, _ in rules) or r"(?!)"
        return cls(re.compile(pattern), tuple(mark for _, mark in rules))

    @classmethod
    def for_this_machine(
        cls, folder: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Redactor:
        """Redact secrets and paths of this machine, and the folder of a target if given."""
        secrets = _secret_rules(os.environ if environ is None else environ)
        rules = [*secrets, *_path_rules(folder), *_ANY_HOME, *_SECRET_FORMS]
        return cls.from_rules(rules)

    @classmethod
    def for_secrets(cls, environ: Mapping[str, str] | None = None) -> Redactor:
        """Redact secrets only: for a text that may be the name of a user or a folder.

        >>> Redactor.for_secrets({"MY_API_KEY": "0123-abcd"}).redact_text("tuned-with-0123-abcd")
        'tuned-with-<secret>'
        """
        secrets = _secret_rules(os.environ if environ is None else environ)
        return cls.from_rules([*secrets, *_SECRET_FORMS])

    def redact_text(self, text: str) -> str:
        """Replace every match by its mark."""
        return self.pattern.sub(lambda match: self.marks[(match.lastindex or 1) - 1], text)

    def redact_value(self, value: JsonValue) -> JsonValue:
        """Redact every string of a JSON value; number keys that become equal, so none is lost."""
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, list):
            return [self.redact_value(item) for item in value]
        if isinstance(value, dict):
            redacted: dict[str, JsonValue] = {}
            for key, item in value.items():
                name = _number_if_taken(self.redact_text(key), redacted)
                redacted[name] = self.redact_value(item)
            return redacted
        return value


def quote_redacted(value: JsonValue, *, limit: int = 60) -> str:
    """Quote what a server says, without secrets: a cut before that could leave a part of one."""
    try:
        return quote(Redactor.for_secrets().redact_value(value), limit=limit)
    except RecursionError:  # deep nesting
        return f"a value of type {type(value).__name__}"


def _number_if_taken(key: str, taken: Mapping[str, object]) -> str:
    number, candidate = 1, key
    while candidate in taken:
        number += 1
        candidate = f"{key} ({number})"
    return candidate


def _secret_rules(environ: Mapping[str, str]) -> Rules:
    """Match secrets as they are, as Python's repr has them, and as part of an address."""
    values = [value.strip() for name, value in environ.items() if SECRET_NAME.search(name)]
    spellings: set[str] = set()
    for value in values:
        if len(value) >= SHORTEST_SECRET:
            in_address = (
                quote_for_address(value),
                quote_for_address(value, safe=""),
                quote_plus(value),
            )
            spellings |= {value, repr(value)[1:-1], *in_address}
    return [(re.escape(each), "<secret>") for each in _longest_first(spellings)]


def _path_rules(folder: Path | None) -> Rules:
    """Match the longest path first, so that a folder inside another gets its own mark."""
    scheme = sysconfig.get_paths()
    marks: dict[str, str] = {}
    for path, mark in (
        (_folder_or_none(Path.home), "<home>"),
        (tempfile.gettempdir(), "<temp>"),
        (_folder_or_none(Path.cwd), "<current folder>"),
        (sys.prefix, "<python>"),
        (scheme["stdlib"], "<python>"),
        (scheme["platlib"], "<site-packages>"),
        (scheme["purelib"], "<site-packages>"),
        (folder, "<folder>"),
    ):
        if path is not None:
            marks |= dict.fromkeys(_path_spellings(Path(path)), mark)
    # A name neither begins before the path nor goes on behind it.
    return [(rf"(?<![\w.]){re.escape(path)}(?!\w)", marks[path]) for path in _longest_first(marks)]


def _path_spellings(path: Path) -> set[str]:
    """Return a path absolute and with links resolved, plain and with escaped backslashes."""
    forms = {path.absolute(), Path(os.path.realpath(path))}
    written = {text for form in forms for text in (str(form), form.as_posix())}
    return {text for path in written for text in (path, path.replace("\\", "\\\\"))} - GENERIC_PATHS


def _folder_or_none(find: Callable[[], Path]) -> Path | None:
    """Return None where there is no home, or where the current folder was removed."""
    with suppress(RuntimeError, FileNotFoundError):
        return find()
    return None


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted(texts, key=len, reverse=True)
