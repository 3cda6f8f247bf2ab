"""Which releases of a package an index offers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from probes.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PYPI = "https://pypi.org/simple/"
INSTALL = "python -m pip install -e '.[upgrade]'"
"""What a clone needs for this."""

_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
_MORE_INDEXES = ("UV_INDEX", "UV_EXTRA_INDEX_URL")
"""Environment variables in which uv takes its indexes."""


@dataclass(frozen=True)
class File:
    """One file of a release, as an index lists it."""

    version: str
    yanked: bool = False
    requires_python: str = ""


def indexes(
    index_url: str | None, extra: Sequence[str], environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Where to look: what the options say, else what uv's variables say, else PyPI.

    >>> indexes(None, [], {"UV_EXTRA_INDEX_URL": "https://a.example/simple"})
    ('https://a.example/simple', 'https://pypi.org/simple/')
    """
    environ = os.environ if environ is None else environ
    first = index_url or next((environ[name] for name in _INDEX if environ.get(name)), PYPI)
    more = list(extra) or [
        # uv allows a name before an address: NAME=URL.
        word.partition("=")[2] if "=" in word.partition("://")[0] else word
        for name in _MORE_INDEXES
        for word in environ.get(name, "").split()
    ]
    return (*more, first)


def offered(files: Iterable[File], python: str) -> tuple[Version, ...]:
    """The releases to choose from, oldest first: stable, not withdrawn, for this Python.

    >>> files = [File("5.0.0"), File("5.0.0rc1"), File("4.9", yanked=True), File("4.10")]
    >>> [str(version) for version in offered(files, "3.11")]
    ['4.10', '5.0.0']
    """
    found = set()
    for file in files:
        try:
            version = Version(file.version)
        except InvalidVersion:
            continue
        if not (version.is_prerelease or file.yanked) and _fits(file.requires_python, python):
            found.add(version)
    return tuple(sorted(found))


def _fits(requires: str, python: str) -> bool:
    try:
        # 3.11 stands for its newest patch: a lower bound on a patch leaves it in.
        full = python if python.count(".") > 1 else f"{python}.99"
        return SpecifierSet(requires).contains(full)
    except InvalidSpecifier:
        return True


def releases(
    package: str,
    python: str,
    urls: Sequence[str],
    files: Callable[[str, str], list[File]] | None = None,
) -> tuple[Version, ...]:
    """The releases of a package that the indexes offer, oldest first.

    Args:
        package: its name.
        python: the version of Python they are to run under.
        urls: the indexes; as uv does, the first that knows the package is taken alone.
        files: what asks an index for a package's files; over the network unless given.

    Raises:
        UserError: No index knows the package, or one cannot be reached.
    """
    files = files or listed
    for url in urls:
        found = files(url, package)
        if found:
            if versions := offered(found, python):
                return versions
            raise UserError(f"no stable release of {package} runs under Python {python}")
    raise UserError(
        f"no package {package} in {', '.join(map(host, urls))}: correct its name, "
        "or name the index that has it with --index-url"
    )


def listed(url: str, package: str) -> list[File]:
    """The files of a package that one index lists; none where it does not know the package.

    Raises:
        UserError: The index cannot be asked.
    """
    try:
        from pypi_simple import NoSuchProjectError, PyPISimple
    except ImportError:
        raise UserError(f"which releases there are is asked by pypi-simple: {INSTALL}") from None
    try:
        with PyPISimple(url) as index:
            page = index.get_project_page(package, timeout=60)
    except NoSuchProjectError:
        return []
    except Exception as error:  # whatever the network or the index does wrong
        raise UserError(
            f"the index {host(url)} cannot be asked for {package} ({type(error).__name__}): check "
            "the connection, or name another with --index-url"
        ) from None
    return [
        File(file.version, file.is_yanked, file.requires_python or "")
        for file in page.packages
        if file.version is not None and file.package_type in ("wheel", "sdist")
    ]


def host(url: str) -> str:
    """An index as a message may name it: without the secrets an address can hold.

    >>> host("https://me:secret@packages.example.com/simple")
    'packages.example.com'
    """
    return urlsplit(url).hostname or "given"
