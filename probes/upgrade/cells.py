"""Combinations of versions: each is a cell, and gets an environment of its own."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from probes.errors import UserError
from probes.schema.base import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LATEST = "latest"
"""On the command line: the newest stable release."""

_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PYTHON = re.compile(r"3\.\d{1,2}(\.\d{1,2})?")


class Pin(Stored):
    """A package and its version; with None, uv chooses the version."""

    package: str
    version: str | None = None

    def __str__(self) -> str:
        """Return the requirement as uv takes it, such as `torch==2.13.0`."""
        return f"{self.package}=={self.version}" if self.version else self.package


class Cell(Stored):
    """One combination of versions."""

    python: str
    """Version of Python, such as `3.11`."""
    pins: tuple[Pin, ...]
    """The packages in the order of the command line."""

    @property
    def name(self) -> str:
        """The name of the cell's folder, such as `torch-2.13.0_python-3.11`."""
        pins = {pin.package: pin.version for pin in self.pins} | {"python": self.python}
        return "_".join("-".join(filter(None, pin)) for pin in pins.items())

    @property
    def versions(self) -> dict[str, str]:
        """The versions by package, and by `python`; an empty text where uv chooses."""
        return {pin.package: pin.version or "" for pin in self.pins} | {"python": self.python}


def parse_pins(text: str) -> tuple[Pin, ...]:
    """Parse the value of one `--with`: a package in one or several versions, or in any.

    >>> [str(pin) for pin in parse_pins("transformers==4.46.3,latest")]
    ['transformers==4.46.3', 'transformers==latest']
    """
    name, equal, versions = text.partition("==")
    if not _PACKAGE.fullmatch(name.strip()):
        raise UserError(
            f"--with {text!r}: expected PACKAGE==VERSION,VERSION,… or a package's name alone"
        )
    package = canonicalize_name(name.strip())
    if not equal:
        return (Pin(package=package),)
    try:
        found = [
            part if part == LATEST else str(Version(part))
            for part in map(str.strip, versions.split(","))
        ]
    except InvalidVersion as error:
        raise UserError(f"--with {text!r}: {error}; give one such as 5.0.0, or {LATEST}") from None
    return tuple(Pin(package=package, version=version) for version in dict.fromkeys(found))


def resolve_latest(pins: Sequence[Pin], find_newest: Callable[[str], str]) -> tuple[Pin, ...]:
    """Replace the version `latest` by the newest release."""
    exact = [
        Pin(package=pin.package, version=find_newest(pin.package)) if pin.version == LATEST else pin
        for pin in pins
    ]
    return tuple(dict.fromkeys(exact))


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


def combine(packages: Iterable[Sequence[Pin]], pythons: Sequence[str]) -> tuple[Cell, ...]:
    """Return every combination: the last package varies fastest, Python slowest.

    >>> cells = combine([parse_pins("a==1,2"), parse_pins("b==3,4")], ["3.11"])
    >>> [" ".join(map(str, cell.pins)) for cell in cells]
    ['a==1 b==3', 'a==1 b==4', 'a==2 b==3', 'a==2 b==4']
    """
    packages = list(packages)
    names = [pins[0].package for pins in packages]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--with names {twice} twice: list its versions in one, with commas")
    return tuple(
        Cell(python=python, pins=pins) for python in pythons for pins in product(*packages)
    )


def find_varying(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the packages, and `python`, that differ between cells; all packages of one cell.

    >>> find_varying(combine([parse_pins("a==1,2"), parse_pins("b==3")], ["3.11"]))
    ('a',)
    """
    names = list(cells[0].versions) if cells else []
    several = [name for name in names if len({cell.versions[name] for cell in cells}) > 1]
    return tuple(several or [name for name in names if name != "python"] or ["python"])


def format_cell(cell: Cell, names: Sequence[str]) -> str:
    """Return the cell's versions of some packages as text: `torch 2.4.0, python 3.11`."""
    return ", ".join(f"{name} {cell.versions[name]}".strip() for name in names)
