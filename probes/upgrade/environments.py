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
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from probes._util.text import shorten
from probes.errors import UserError
from probes.upgrade.cells import Cell
from probes.upgrade.releases import INSTALL

BOUNDS = {"UV_CONCURRENT_DOWNLOADS": "4", "UV_CONCURRENT_BUILDS": "1"}
"""How much uv does at once, unless the user has set these variables."""

INSTALL_LIMIT_S = 3600


class NotInstallableError(Exception):
    """The versions cannot be installed together; the message is the reason, in one line."""


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
    cell: Cell, package: Path, options: Sequence[str], folder: Path
) -> tuple[Path, float | None]:
    """Make a cell's environment below `folder` unless it exists, or raise NotInstallableError.

    `package` is the source of this package, which is installed in place, or a wheel; `options` are
    those of `uv pip install`. Returns the environment's Python, and the seconds that it took to
    make; None if it existed.
    """
    uv, is_source = find_uv(), package.is_dir()
    content = (package / "pyproject.toml" if is_source else package).read_bytes()
    place = str(package) if is_source else ""
    key = [cell.name, *options, place, hashlib.sha256(content).hexdigest()]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
    home = folder / f"{cell.name}-{digest}"
    python = home / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    ready = home / "ready"
    try:
        home.mkdir(parents=True, exist_ok=True)
        # One environment is made at a time: a package that several need is downloaded once.
        with FileLock(folder / "lock"):
            if ready.exists() and python.exists():
                return python, None
            start = time.monotonic()
            ready.unlink(missing_ok=True)
            _run(uv, "venv", "--clear", "--python", cell.python, str(home / "venv"))
            ours = ["--editable", str(package)] if is_source else [str(package)]
            install = ["pip", "install", f"--python={python}", *options]
            _run(uv, *install, *ours, *cell.requirements)
            ready.touch()
            return python, time.monotonic() - start
    except OSError as error:
        raise UserError(
            f"no environment can be made in '{folder}': {error.strerror or error}; "
            "name another folder with --environments"
        ) from error


def _run(uv: str, *arguments: str) -> None:
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
            timeout=INSTALL_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        limit = f"{INSTALL_LIMIT_S // 60} minutes"
        raise NotInstallableError(f"uv did not end within {limit}") from None
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
