"""Combinations of versions: each is a cell, and gets an environment of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from probes.errors import UserError
from probes.schema.base import Stored

Versions = tuple[str, tuple[str, ...]]
"""A package, and its versions."""

LATEST = "latest"
"""On the command line: the newest stable release."""

_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PYTHON = re.compile(r"3\.\d{1,2}(\.\d{1,2})?")


class Cell(Stored):
    """One combination of versions."""

    packages: dict[str, str]
    """Versions by package, in the order of the command line; an empty text where uv chooses."""
    python: str
    """Version of Python, such as `3.11`."""

    @property
    def versions(self) -> dict[str, str]:
        """The versions by package, and by `python`."""
        return self.packages | {"python": self.python}

    @property
    def name(self) -> str:
        """The name of the cell's folder, such as `torch-2.13.0_python-3.11`."""
        return "_".join("-".join(filter(None, each)) for each in self.versions.items())

    @property
    def requirements(self) -> list[str]:
        """The packages as uv takes them, such as `torch==2.13.0`."""
        return ["==".join(filter(None, each)) for each in self.packages.items()]


def parse_versions(text: str) -> Versions:
    """Parse the value of one `--with`: a package in one or several versions, or in any.

    >>> parse_versions("Transformers==4.46.3,latest")
    ('transformers', ('4.46.3', 'latest'))
    """
    name, equal, versions = (part.strip() for part in text.partition("=="))
    if not _PACKAGE.fullmatch(name):
        raise UserError(
            f"--with {text!r}: expected PACKAGE==VERSION,VERSION,… or a package's name alone"
        )
    try:
        found = [
            part if part == LATEST else str(Version(part))
            for part in map(str.strip, versions.split(",") if equal else ())
        ]
    except InvalidVersion as error:
        raise UserError(f"--with {text!r}: {error}; give one such as 5.0.0, or {LATEST}") from None
    return canonicalize_name(name), tuple(dict.fromkeys(found or [""]))


def parse_pythons(text: str) -> tuple[str, ...]:
    """Parse the value of `--python`.

    >>> parse_pythons("3.10,3.13")
    ('3.10', '3.13')
    """
    versions = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for version in versions:
        if not _PYTHON.fullmatch(version):
            raise UserError(f"--python {text!r}: {version!r} is no version; give one such as 3.12")
    return versions


def combine(packages: Sequence[Versions], pythons: Sequence[str]) -> list[Cell]:
    """Return every combination: the last package varies fastest, Python slowest.

    >>> cells = combine([("a", ("1", "2")), ("b", ("3", "4"))], ["3.11"])
    >>> [" ".join(cell.requirements) for cell in cells]
    ['a==1 b==3', 'a==1 b==4', 'a==2 b==3', 'a==2 b==4']
    """
    names = [name for name, _ in packages]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--with names {twice} twice: list its versions in one, with commas")
    return [
        Cell(packages=dict(zip(names, versions, strict=True)), python=python)
        for python in pythons
        for versions in product(*(versions for _, versions in packages))
    ]


def find_varying(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the packages, and `python`, that differ between cells; all packages of one cell.

    >>> find_varying(combine([("a", ("1", "2")), ("b", ("3",))], ["3.11"]))
    ('a',)
    """
    first = cells[0]
    several = [name for name in first.versions if len({c.versions[name] for c in cells}) > 1]
    return tuple(several or first.packages)


def format_cell(cell: Cell, names: Sequence[str]) -> str:
    """Return the cell's versions of some packages as text: `torch 2.4.0, python 3.11`."""
    return ", ".join(f"{name} {cell.versions[name]}".strip() for name in names)
