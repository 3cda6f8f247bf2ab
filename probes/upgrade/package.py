"""This package, in a form that uv can install into the environment of a cell."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from packaging.utils import canonicalize_name

from probes._util.files import PACKAGE
from probes._util.version import DISTRIBUTION

SOURCE_FILES = (
    "probes",
    "tests",
    "conftest.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "NOTICE",
)
"""What an installation from the source needs, and what the tests of the claims need."""

_OF_THE_INSTALLER = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def find_package(folder: Path) -> Path:
    """Return this package's source, or if there is none a wheel, which is written to `folder`."""
    source = PACKAGE.parent
    if (source / "pyproject.toml").is_file() and (source / "tests" / "claims").is_dir():
        return source
    return pack_wheel(DISTRIBUTION, folder)


def pack_wheel(name: str, folder: Path) -> Path:
    """Pack an installed pure-Python distribution into a wheel, always with the same bytes."""
    installed = distribution(name)
    stem = f"{canonicalize_name(name).replace('-', '_')}-{installed.version}"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        with ZipFile(Path(unfinished, wheel.name), "w") as archive:
            for file in installed.files or ():
                outside = ".." in file.parts  # such as scripts, which are made at installation
                if not outside and file.suffix != ".pyc" and file.name not in _OF_THE_INSTALLER:
                    archive.write(file.locate(), file.as_posix())
            archive.writestr(ZipInfo(f"{stem}.dist-info/RECORD"), "")
        Path(unfinished, wheel.name).replace(wheel)
    return wheel


def copy_package(package: Path, folder: Path) -> None:
    """Copy the source or the wheel, and the importable package beside the wheel."""
    folder.mkdir(exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    sources = [package / name for name in SOURCE_FILES] if package.is_dir() else [package, PACKAGE]
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=ignored)
        elif source.is_file():
            shutil.copy(source, folder)
