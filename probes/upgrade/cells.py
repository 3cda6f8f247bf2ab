"""Which combinations of versions there are: a cell is one, and gets an environment of its own."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict

from probes.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LATEST = "latest"
"""Stands for the newest stable release."""

_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PYTHON = re.compile(r"3\.\d{1,2}(\.\d{1,2})?")


class _Stored(BaseModel):
    """Base of what is stored beside the records: misspelt keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Pin(_Stored):
    """A package, and the version that is asked for; None leaves the version to uv."""

    package: str
    version: str | None = None

    def __str__(self) -> str:
        """As uv takes it.

        >>> str(Pin(package="torch", version="2.13.0")), str(Pin(package="protobuf"))
        ('torch==2.13.0', 'protobuf')
        """
        return f"{self.package}=={self.version}" if self.version else self.package


class Cell(_Stored):
    """One combination of versions."""

    python: str
    """Version of Python, such as `3.11`."""
    pins: tuple[Pin, ...]
    """The packages asked for, in the order of the command line."""

    @property
    def name(self) -> str:
        """What a folder for it is called.

        >>> Cell(python="3.11", pins=(Pin(package="torch", version="2.13.0"),)).name
        'torch-2.13.0_python-3.11'
        """
        parts = ["-".join(filter(None, (pin.package, pin.version))) for pin in self.pins]
        return "_".join([*parts, f"python-{self.python}"])

    def version(self, package: str) -> str | None:
        """The version of a package that is asked for; None where none is."""
        return next((pin.version for pin in self.pins if pin.package == package), None)


def wanted(text: str) -> tuple[Pin, ...]:
    """What one `--with` asks for: a package in one or several versions, or in any.

    >>> [str(pin) for pin in wanted("transformers==4.46.3,latest")]
    ['transformers==4.46.3', 'transformers==latest']

    Raises:
        UserError: It is something else.
    """
    name, equal, versions = text.partition("==")
    if not _PACKAGE.fullmatch(name.strip()):
        raise UserError(
            f"--with {text!r}: expected PACKAGE==VERSION,VERSION,… or a package's name alone"
        )
    package = canonicalize_name(name.strip())
    if not equal:
        return (Pin(package=package),)
    found = [_version(part.strip(), text) for part in versions.split(",")]
    return tuple(Pin(package=package, version=version) for version in dict.fromkeys(found))


def _version(text: str, option: str) -> str:
    if text == LATEST:
        return text
    try:
        return str(Version(text))
    except InvalidVersion:
        raise UserError(
            f"--with {option!r}: {text!r} is no version; give one such as 5.0.0, or {LATEST}"
        ) from None


def resolved(pins: Sequence[Pin], newest: Callable[[str], str]) -> tuple[Pin, ...]:
    """The pins with `latest` replaced by the version that an index offers.

    >>> [str(pin) for pin in resolved(wanted("torch==2.4.0,latest"), lambda package: "2.13.0")]
    ['torch==2.4.0', 'torch==2.13.0']
    """
    exact = [
        pin.model_copy(update={"version": newest(pin.package)}) if pin.version == LATEST else pin
        for pin in pins
    ]
    return tuple(dict.fromkeys(exact))


def pythons(text: str) -> tuple[str, ...]:
    """The versions of Python that `--python` asks for.

    >>> pythons("3.10,3.13")
    ('3.10', '3.13')

    Raises:
        UserError: One of them is none.
    """
    versions = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for version in versions:
        if not _PYTHON.fullmatch(version):
            raise UserError(f"--python {text!r}: {version!r} is no version; give one such as 3.12")
    return versions


def combine(packages: Iterable[Sequence[Pin]], pythons: Sequence[str]) -> tuple[Cell, ...]:
    """Every combination: the last package varies fastest, Python slowest.

    >>> cells = combine([wanted("a==1,2"), wanted("b==3,4")], ["3.11"])
    >>> [" ".join(map(str, cell.pins)) for cell in cells]
    ['a==1 b==3', 'a==1 b==4', 'a==2 b==3', 'a==2 b==4']

    Raises:
        UserError: A package is named twice.
    """
    packages = list(packages)
    names = [pins[0].package for pins in packages]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--with names {twice} twice: list its versions in one, with commas")
    return tuple(
        Cell(python=python, pins=pins) for python in pythons for pins in product(*packages)
    )


def varying(cells: Sequence[Cell]) -> tuple[str, ...]:
    """What tells the cells apart: packages by name, and `python`; all if there is one cell.

    >>> varying(combine([wanted("a==1,2"), wanted("b==3")], ["3.11"]))
    ('a',)
    """
    names = [pin.package for pin in cells[0].pins] if cells else []
    several = [name for name in names if len({cell.version(name) for cell in cells}) > 1]
    if len({cell.python for cell in cells}) > 1:
        several.append("python")
    return tuple(several or names or ["python"])


def label(cell: Cell, names: Sequence[str]) -> str:
    """A cell in words, by the packages named.

    >>> label(combine([wanted("torch==2.4.0")], ["3.11"])[0], ["torch", "python"])
    'torch 2.4.0, python 3.11'
    """
    versions = {"python": cell.python} | {pin.package: pin.version or "" for pin in cell.pins}
    return ", ".join(f"{name} {versions[name]}".strip() for name in names)
