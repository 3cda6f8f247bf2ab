"""The releases of a package that an index offers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from probes.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pypi_simple import DistributionPackage

PYPI = "https://pypi.org/simple/"
INSTALL = "python -m pip install uv pypi-simple"


def list_indexes(
    index_url: str | None, extra: Sequence[str], environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Return the indexes to ask: those of the options, else of uv's variables, else PyPI.

    >>> list_indexes(None, [], {"UV_EXTRA_INDEX_URL": "https://a.example/simple"})
    ('https://a.example/simple', 'https://pypi.org/simple/')
    """
    environ = os.environ if environ is None else environ
    main = index_url or environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or PYPI
    words = f"{environ.get('UV_INDEX', '')} {environ.get('UV_EXTRA_INDEX_URL', '')}".split()
    # uv allows a name before an address: NAME=URL.
    named = [word.partition("=")[2] if "=" in word.partition("://")[0] else word for word in words]
    return (*(extra or named), main)


def list_releases(package: str, python: str, urls: Sequence[str]) -> tuple[Version, ...]:
    """Return the stable releases of a package for a version of Python, oldest first.

    As in uv, only the first index that has the package is used.
    """
    for url in urls:
        if files := _list_files(url, package):
            if versions := select_releases(files, python):
                return versions
            raise UserError(f"no stable release of {package} runs under Python {python}")
    raise UserError(
        f"no package {package} in {', '.join(map(_host, urls))}: correct its name, "
        "or name the index that has it with --index-url"
    )


def _list_files(url: str, package: str) -> list[DistributionPackage]:
    try:
        from pypi_simple import NoSuchProjectError, PyPISimple
    except ImportError:
        raise UserError(f"releases are listed by pypi-simple: {INSTALL}") from None
    try:
        with PyPISimple(url) as index:
            return index.get_project_page(package, timeout=60).packages
    except NoSuchProjectError:
        return []
    except Exception as error:  # a fault of the network or of the index, of any type
        raise UserError(
            f"the index {_host(url)} cannot be asked for {package} ({type(error).__name__}): check "
            "the connection, or name another with --index-url"
        ) from None


def select_releases(files: Iterable[DistributionPackage], python: str) -> tuple[Version, ...]:
    """Return the releases that are stable, not yanked and support this Python, oldest first."""
    # 3.11 means its newest patch: `>=3.11.5` admits it.
    full = python if python.count(".") > 1 else f"{python}.99"
    found = set()
    for file in files:
        if file.is_yanked or file.package_type not in ("wheel", "sdist"):
            continue
        try:
            version = Version(file.version or "")
            is_supported = full in SpecifierSet(file.requires_python or "")
        except InvalidVersion:
            continue
        except InvalidSpecifier:
            is_supported = True
        if is_supported and not version.is_prerelease:
            found.add(version)
    return tuple(sorted(found))


def _host(url: str) -> str:
    """Return the host of an index: an address can hold a password."""
    return urlsplit(url).hostname or "given"
