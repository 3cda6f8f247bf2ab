"""Isolated environments, made by uv and kept, so that none is made twice."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from probes._util.files import write_atomically
from probes._util.text import shorten
from probes.errors import UserError
from probes.schema.base import Stored
from probes.upgrade.cells import Cell
from probes.upgrade.releases import INSTALL

if TYPE_CHECKING:
    from collections.abc import Iterator

READY = "ready.json"
"""In an environment's folder: what is installed. It is written last."""

BOUNDS = {"UV_CONCURRENT_DOWNLOADS": "4", "UV_CONCURRENT_BUILDS": "1"}
"""How much uv does at once, unless the user has set these variables."""

INSTALL_LIMIT = 3600.0
"""Seconds after which an installation is ended."""


class NotInstallableError(Exception):
    """The versions cannot be installed together; the message is the reason, in one line."""


class Sources(Stored):
    """Where uv looks for packages: its own options."""

    find_links: tuple[str, ...] = ()
    index_url: str | None = None
    extra_index_url: tuple[str, ...] = ()
    torch_backend: str | None = None

    def as_arguments(self) -> list[str]:
        """Return the options as uv takes them.

        >>> Sources(find_links=("wheels",), torch_backend="cpu").as_arguments()
        ['--find-links=wheels', '--torch-backend=cpu']
        """
        options = [("find-links", each) for each in self.find_links]
        options += [("index-url", self.index_url)] if self.index_url else []
        options += [("extra-index-url", each) for each in self.extra_index_url]
        options += [("torch-backend", self.torch_backend)] if self.torch_backend else []
        return [f"--{name}={value}" for name, value in options]


class Installation(Stored):
    """What an environment holds, and what it cost."""

    packages: dict[str, str]
    """The installed versions by package."""
    size: int
    """Bytes of its files. Those shared with uv's cache take no extra space."""
    seconds: float
    """Time to make it."""
    reused: bool = False
    """Whether it existed already."""


def default_folder() -> Path:
    """Return the folder of environments in the user's cache."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "probes" / "environments"


def find_uv() -> str:
    """Return the command of uv: of the installed package, else of the search path.

    Raises:
        UserError: uv is not installed.
    """
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv"):
            return found
    raise UserError(f"environments are made by uv, which is not installed: {INSTALL}")


def make_environment(
    cell: Cell, package: Path, sources: Sources, folder: Path
) -> tuple[Path, Installation]:
    """Make a cell's environment unless it exists; return its Python and what it holds.

    Args:
        cell: The versions; all others are for uv to choose.
        package: This package: its source, which is installed in place, or a wheel.
        sources: Where uv looks for packages.
        folder: The folder of all environments.

    Raises:
        NotInstallableError: uv finds no solution, or cannot install it.
        UserError: uv is not installed, or the folder cannot be written to.
    """
    uv = find_uv()
    home = folder / f"{cell.name}-{_digest(cell, package, sources)}"
    python = home / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _lock(home):
            installation = _read_ready(home)
            if installation is None or not python.exists():
                installation = _make(uv, home, python, cell, package, sources)
            return python, installation
    except OSError as error:
        raise UserError(
            f"no environment can be made in '{folder}': {error.strerror or error}; "
            "name another folder with --environments"
        ) from error


def _digest(cell: Cell, package: Path, sources: Sources) -> str:
    """Return a digest of all that decides what an environment holds."""
    source = str(package) if package.is_dir() else ""
    content = (package / "pyproject.toml" if source else package).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    key = [cell.model_dump(), sources.model_dump(), source, digest]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _read_ready(home: Path) -> Installation | None:
    try:
        text = (home / READY).read_bytes()
        return Installation.model_validate_json(text).model_copy(update={"reused": True})
    except (OSError, ValidationError):
        return None


def _make(
    uv: str, home: Path, python: Path, cell: Cell, package: Path, sources: Sources
) -> Installation:
    start = time.monotonic()
    (home / READY).unlink(missing_ok=True)
    _run_uv(uv, "venv", "--clear", "--python", cell.python, str(home / "venv"))
    editable = ["--editable"] if package.is_dir() else []
    to_install = [*sources.as_arguments(), *editable, str(package), *map(str, cell.pins)]
    _run_uv(uv, "pip", "install", "--python", str(python), *to_install)
    listed = _run_uv(uv, "pip", "list", "--python", str(python), "--format", "json")
    files = (Path(root, name) for root, _, names in os.walk(home / "venv") for name in names)
    installation = Installation(
        packages={each["name"]: each["version"] for each in json.loads(listed)},
        size=sum(file.lstat().st_size for file in files),
        seconds=time.monotonic() - start,
    )
    write_atomically(home / READY, installation.model_dump_json(indent=1) + "\n")
    return installation


def _run_uv(uv: str, *arguments: str) -> str:
    """Run uv and return what it prints."""
    environ = {**BOUNDS, **os.environ}
    environ.pop("VIRTUAL_ENV", None)  # the caller's environment
    try:
        done = subprocess.run(  # noqa: S603 - uv, with arguments that were checked
            [uv, "--quiet", "--color", "never", *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=INSTALL_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotInstallableError(
            f"uv did not end within {INSTALL_LIMIT / 60:.0f} minutes"
        ) from None
    if done.returncode:
        raise NotInstallableError(find_reason(done.stderr) or f"uv ended with {done.returncode}")
    return done.stdout


def find_reason(messages: str) -> str:
    r"""Return uv's reason for an error in one line, without passwords in addresses.

    >>> find_reason("error: No solution found\n  cause: Because a==9 is not\n    there.\n\nhint: b")
    'Because a==9 is not there.'
    """
    first = messages.strip().partition("\n\n")[0]
    reason = re.split("cause:|╰─▶", first, maxsplit=1)[-1].removeprefix("error:")
    return shorten(" ".join(re.sub(r"(?<=://)[^/\s@]+@", "", reason).split()), 300)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock a folder, so that two commands do not make the same environment at once."""
    try:
        import fcntl
    except ImportError:  # a system without such locks
        yield
        return
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
