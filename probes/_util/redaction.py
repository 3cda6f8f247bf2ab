"""Keeping a machine's paths, names and secrets out of what is stored.

A record is meant to be shared. Whatever a test attaches or an exception says is scrubbed before it
is written: what was taken out is marked plainly, as in ``<home>/model``.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import JsonValue


SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASS|_PWD|CREDENTIAL|AUTH", re.IGNORECASE)
"""An environment variable of such a name has a value that is nobody's business."""

SHORTEST_SECRET = 8
"""Characters; a shorter value is a setting such as `true`, and would turn up in any text."""

GENERIC_NAMES = frozenset(
    {"admin", "container", "debian", "docker", "fedora", "host", "jovyan", "localdomain"}
    | {"localhost", "nobody", "root", "runner", "ubuntu", "user", "users", "vagrant"}
)
"""Host and user names that name nobody."""

GENERIC_PATHS = frozenset({"", "/", "/usr", "/usr/local", "/opt", "/mnt", "/data", "/home"})
"""Paths that are the same on any machine, and too short to be replaced safely."""

# A token of a known shape; a password inside an address.
_SECRET_SHAPES = (
    (r"\b(?:hf|gh[a-z]|github_pat|sk|xox[a-z]|glpat)[_-][A-Za-z0-9_-]{20,}", "<secret>"),
    (r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)", "<secret>"),
)

# Someone else's home.
_ANYWHERE = (
    (r"(?<![\w.])(?:/home|/Users|[A-Za-z]:\\{1,2}Users)[/\\]{1,2}[^/\\\s'\"<>:,;]+", "<home>"),
    *_SECRET_SHAPES,
)


@dataclass(frozen=True)
class Redactor:
    r"""Replaces what must not be stored by a mark that says what stood there.

    >>> redactor = Redactor.of([(re.escape("/srv/anna"), "<home>"), (r"\bmars\b", "<host>")])
    >>> redactor.text("/srv/anna/model, on mars")
    '<home>/model, on <host>'
    """

    pattern: re.Pattern[str]
    marks: tuple[str, ...]

    @classmethod
    def of(cls, rules: Iterable[tuple[str, str]]) -> Redactor:
        """From regular expressions without groups and their marks; earlier ones win."""
        rules = tuple(rules)
        pattern = "|".join(f"({pattern})" for pattern, _ in rules) or r"(?!)"
        return cls(re.compile(pattern), tuple(mark for _, mark in rules))

    @classmethod
    def of_this_machine(
        cls, folder: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Redactor:
        """What this machine and this run must keep to themselves.

        Args:
            folder: The target's folder, for a target loaded from one.
            environ: The environment variables; those of this process unless given.
        """
        return cls.of(
            [
                *_secrets(os.environ if environ is None else environ),
                *_paths(folder),
                *_ANYWHERE,
                *_names(),
            ]
        )

    @classmethod
    def of_secrets(cls, environ: Mapping[str, str] | None = None) -> Redactor:
        """Secrets alone: for a name, which may well be that of a user or a folder.

        >>> Redactor.of_secrets({"MY_API_KEY": "0123-abcd"}).text("tuned-with-0123-abcd")
        'tuned-with-<secret>'
        """
        return cls.of([*_secrets(os.environ if environ is None else environ), *_SECRET_SHAPES])

    def text(self, text: str) -> str:
        """The text with every match replaced by its mark."""
        return self.pattern.sub(lambda match: self.marks[(match.lastindex or 1) - 1], text)

    def value(self, value: JsonValue) -> JsonValue:
        """A JSON value with every string in it scrubbed, keys too.

        Keys that become alike are numbered, so that no value is lost.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            scrubbed: dict[str, JsonValue] = {}
            for key, item in value.items():
                scrubbed[_unused(self.text(key), scrubbed)] = self.value(item)
            return scrubbed
        return value


def _unused(key: str, taken: Mapping[str, object]) -> str:
    """The key, numbered if it is taken."""
    number, candidate = 1, key
    while candidate in taken:
        number += 1
        candidate = f"{key} ({number})"
    return candidate


def _secrets(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    values = {
        value.strip()
        for name, value in environ.items()
        if SECRET_NAME.search(name) and len(value.strip()) >= SHORTEST_SECRET
    }
    written = {spelling for value in values for spelling in _written(value)}
    return [(re.escape(each), "<secret>") for each in sorted(written, key=len, reverse=True)]


def _written(secret: str) -> set[str]:
    """The ways a secret is written: as it is, as Python shows it, and inside an address."""
    return {secret, repr(secret)[1:-1], quote(secret), quote(secret, safe=""), quote_plus(secret)}


def _paths(folder: Path | None) -> list[tuple[str, str]]:
    """The longest first, so that a folder inside another is named by its own mark."""
    scheme = sysconfig.get_paths()
    marked = [
        (folder, "<folder>"),
        (scheme["purelib"], "<site-packages>"),
        (scheme["platlib"], "<site-packages>"),
        (scheme["stdlib"], "<python>"),
        (sys.prefix, "<python>"),
        (_current_folder(), "<current folder>"),
        (tempfile.gettempdir(), "<temp>"),
        (_home(), "<home>"),
    ]
    spellings = {
        spelling: mark
        for path, mark in reversed(marked)
        if path is not None
        for spelling in _spellings(Path(path))
    }
    longest_first = sorted(spellings, key=len, reverse=True)
    return [(_path_pattern(spelling), spellings[spelling]) for spelling in longest_first]


def _spellings(path: Path) -> set[str]:
    """The ways a path is written: as given, absolute, links followed, with escaped backslashes."""
    forms = {path.absolute(), Path(os.path.realpath(path))}
    written = {text for form in forms for text in (str(form), form.as_posix())}
    return {text for path in written for text in (path, path.replace("\\", "\\\\"))} - GENERIC_PATHS


def _path_pattern(path: str) -> str:
    """A path, where a name neither goes on behind it nor began before it."""
    return rf"(?<![\w.]){re.escape(path)}(?!\w)"


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was removed meanwhile
        return None


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # no home can be determined: then no path leads there
        return None


def _names() -> list[tuple[str, str]]:
    hosts = {platform.node(), platform.node().partition(".")[0]}
    return [(_name_pattern(name), "<host>") for name in _telling(hosts)] + [
        (_name_pattern(name), "<user>") for name in _telling({_user()})
    ]


def _telling(names: set[str]) -> list[str]:
    """The names that name someone, the longest first."""
    telling = {name for name in names if len(name) > 1 and name.lower() not in GENERIC_NAMES}
    return sorted(telling, key=len, reverse=True)


def _name_pattern(name: str) -> str:
    """The name as a whole word."""
    return rf"(?<![\w-]){re.escape(name)}(?![\w-])"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return ""
