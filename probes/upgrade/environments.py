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

from probes._util.text import shorten
from probes.errors import UserError
from probes.schema.base import Stored
from probes.upgrade.releases import INSTALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.upgrade.cells import Cell

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
        options += [("extra-index-url", each) for each in self.extra_index_url]
        options += [("index-url", self.index_url)] if self.index_url else []
        options += [("torch-backend", self.torch_backend)] if self.torch_backend else []
        return [f"--{name}={value}" for name, value in options]


def default_folder() -> Path:
    """Return the folder of environments in the user's cache."""
    caches = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": "~/Library/Caches"}
    cache = caches.get(sys.platform) or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "probes" / "environments"


def find_uv() -> str:
    """Return the command of uv: of the installed package, else of the search path."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv"):
            return found
    raise UserError(f"environments are made by uv, which is not installed: {INSTALL}")


def make_environment(
    cell: Cell, package: Path, sources: Sources, folder: Path
) -> tuple[Path, float | None]:
    """Make a cell's environment below `folder` unless it exists, or raise NotInstallableError.

    `package` is the source of this package, which is installed in place, or a wheel. Returns the
    environment's Python, and the seconds that it took to make; None if it existed.
    """
    uv = find_uv()
    home = folder / f"{cell.name}-{_compute_digest(cell, package, sources)}"
    python = home / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    ready = home / "ready"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _lock(home):
            if ready.exists() and python.exists():
                return python, None
            start = time.monotonic()
            ready.unlink(missing_ok=True)
            _run_uv(uv, "venv", "--clear", "--python", cell.python, str(home / "venv"))
            packages = [*(["--editable"] if package.is_dir() else []), str(package)]
            packages += map(str, cell.pins)
            _run_uv(uv, "pip", "install", f"--python={python}", *sources.as_arguments(), *packages)
            ready.touch()
            return python, time.monotonic() - start
    except OSError as error:
        raise UserError(
            f"no environment can be made in '{folder}': {error.strerror or error}; "
            "name another folder with --environments"
        ) from error


def _compute_digest(cell: Cell, package: Path, sources: Sources) -> str:
    source = str(package) if package.is_dir() else ""
    content = (package / "pyproject.toml" if source else package).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    key = [cell.model_dump(), sources.model_dump(), source, digest]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _run_uv(uv: str, *arguments: str) -> None:
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
        minutes = f"{INSTALL_LIMIT / 60:.0f} minutes"
        raise NotInstallableError(f"uv did not end within {minutes}") from None
    if done.returncode:
        raise NotInstallableError(find_reason(done.stderr) or f"uv ended with {done.returncode}")


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
