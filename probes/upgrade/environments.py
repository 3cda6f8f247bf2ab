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
from probes.errors import UserError
from probes.upgrade.cells import Cell, _Stored
from probes.upgrade.releases import INSTALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

READY = "ready.json"
"""In an environment's folder: what is in it. Without this file it was never finished."""

BOUNDS = {"UV_CONCURRENT_DOWNLOADS": "4", "UV_CONCURRENT_BUILDS": "1"}
"""What uv may do at once, unless its variables say otherwise."""

INSTALL_LIMIT = 3600.0
"""Seconds after which an installation is given up."""

_LONGEST = 300
_ANNOUNCED = re.compile(r"^Downloading .+ \(([\d.]+) ?(B|[KMG]iB)\)", re.MULTILINE)
_UNIT = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class NotInstallableError(Exception):
    """The versions asked for cannot be had together, or not be installed: why, in one line."""


class Sources(_Stored):
    """Where uv looks for packages, as on its own command line."""

    find_links: tuple[str, ...] = ()
    index_url: str | None = None
    extra_index_url: tuple[str, ...] = ()
    torch_backend: str | None = None

    def arguments(self) -> list[str]:
        """The options as uv takes them.

        >>> Sources(find_links=("wheels",)).arguments()
        ['--find-links', 'wheels']
        """
        words = [word for each in self.find_links for word in ("--find-links", each)]
        words += ["--index-url", self.index_url] if self.index_url else []
        words += [word for each in self.extra_index_url for word in ("--extra-index-url", each)]
        words += ["--torch-backend", self.torch_backend] if self.torch_backend else []
        return words


class Made(_Stored):
    """What is known of an environment."""

    project: str
    """The folder this package was installed from, editable."""
    packages: dict[str, str]
    """What is installed, by name."""
    size: int
    """Bytes of its files. Those it shares with uv's cache take no room of their own."""
    downloaded: int
    """Bytes that uv announced to download for it; it announces no small files."""
    seconds: float
    """What it took to make."""
    reused: bool = False
    """Whether it was there already."""


def default_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Where environments are kept unless told otherwise: in the user's cache."""
    environ = os.environ if environ is None else environ
    if sys.platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "probes" / "environments"


def find_uv() -> str:
    """The command of uv: the installed package's, else the one on the path.

    Raises:
        UserError: There is none.
    """
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        pass
    if found := shutil.which("uv"):
        return found
    raise UserError(f"environments are made by uv, which is not installed: {INSTALL}")


def place(cell: Cell, project: Path, sources: Sources, folder: Path) -> Path:
    """The folder of a cell's environment: another for whatever else would be in it."""
    declared = (project / "pyproject.toml").read_bytes() if project.is_dir() else b""
    key = json.dumps(
        [cell.model_dump(), sources.model_dump(), hashlib.sha256(declared).hexdigest()],
        sort_keys=True,
    )
    return folder / f"{cell.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def make(cell: Cell, project: Path, sources: Sources, folder: Path) -> tuple[Path, Made]:
    """A cell's environment, made unless it is there; returns its Python and what is known of it.

    Args:
        cell: the versions asked for; everything else is for uv to choose.
        project: this package's source, installed so that it is used in place.
        sources: where uv looks for packages.
        folder: where environments are kept.

    Raises:
        NotInstallableError: uv finds no solution, or cannot install it.
        UserError: There is no uv, or the folder cannot be written to.
    """
    uv = find_uv()
    home = place(cell, project, sources, folder)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _alone(home):
            return _make(uv, home, cell, project, sources)
    except OSError as error:
        raise UserError(
            f"no environment can be made in '{folder}': {error.strerror or error}; "
            "name another folder with --environments"
        ) from error


def _make(uv: str, home: Path, cell: Cell, project: Path, sources: Sources) -> tuple[Path, Made]:
    python = _python(home / "venv")
    made = _ready(home)
    if made is not None and made.project == str(project) and python.exists():
        return python, made.model_copy(update={"reused": True})
    start = time.monotonic()
    if made is not None and python.exists():  # the same, of a clone that lies elsewhere
        _uv(uv, "pip", "install", "--no-deps", "--python", str(python), *sources.arguments(),
            "--editable", str(project))  # fmt: skip
        said = ""
    else:
        (home / READY).unlink(missing_ok=True)
        _uv(uv, "venv", "--clear", "--python", cell.python, str(home / "venv"))
        said = _uv(uv, "pip", "install", "--python", str(python), *sources.arguments(),
                   "--editable", str(project), *map(str, cell.pins))  # fmt: skip
    listed = _uv(uv, "pip", "list", "--python", str(python), "--format", "json", stdout=True)
    made = Made(
        project=str(project),
        packages={each["name"]: each["version"] for each in json.loads(listed)},
        size=_size(home / "venv"),
        downloaded=announced(said),
        seconds=time.monotonic() - start,
    )
    write_atomically(home / READY, made.model_dump_json(indent=1) + "\n")
    return python, made


def _ready(home: Path) -> Made | None:
    try:
        return Made.model_validate_json((home / READY).read_bytes())
    except (OSError, ValidationError):
        return None


def _python(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _uv(uv: str, *arguments: str, stdout: bool = False) -> str:
    """What uv says: its messages, or what it prints."""
    environ = {**BOUNDS, **os.environ}
    environ.pop("VIRTUAL_ENV", None)  # not the environment of whoever calls
    command = [uv, "--color", "never", *(["--no-progress"] if stdout else []), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - uv, with arguments that were checked
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INSTALL_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        limit = f"{INSTALL_LIMIT / 60:.0f} minutes"
        raise NotInstallableError(f"uv did not end within {limit}") from None
    if done.returncode:
        raise NotInstallableError(relevant(done.stderr) or f"uv ended with {done.returncode}")
    return done.stdout if stdout else done.stderr


def relevant(said: str) -> str:
    r"""Of uv's messages the one that says why, in one line and without secrets.

    >>> relevant("error: No solution found\n  cause: Because a==9 is not\n    there.")
    'Because a==9 is not there.'
    """
    text = re.sub(r"(?<=://)[^/\s@]+@", "", said)
    for sign in ("cause:", "╰─▶", "error:"):
        if sign in text:
            text = text[text.index(sign) + len(sign) :]
            break
    line = " ".join(text.partition("\n\n")[0].split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def announced(said: str) -> int:
    r"""Bytes that uv said it downloads.

    >>> announced("Downloading a (1.5MiB)\nDownloading b (512.0KiB)\n Downloaded a\n") / 2**20
    2.0
    """
    return round(sum(float(size) * _UNIT[unit] for size, unit in _ANNOUNCED.findall(said)))


def _size(folder: Path) -> int:
    """Bytes of all files; a link counts for nothing."""
    return sum(
        (Path(root) / name).lstat().st_size for root, _, names in os.walk(folder) for name in names
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder, so that two commands at once do not make the same environment."""
    try:
        import fcntl
    except ImportError:  # a system without such locks
        yield
        return
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
