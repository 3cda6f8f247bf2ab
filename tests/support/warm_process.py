"""Processes of their own that start with torch imported, which takes seconds otherwise.

One server a session imports the libraries and computes nothing; every process is forked from it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# None that pytest rewrites: it warns of those imported before it.
IMPORTED = ["torch", "transformers.models.llama", "transformers.models.mistral.modeling_mistral"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([*IMPORTED, "transformers.models.mixtral", "altair", "pytest"])


def call_apart(function: Callable[..., Any], *arguments: Any, timeout: float = 300) -> Any:
    """Call a module's function in a process of its own; return what it returns, or raise that."""
    with _CONTEXT.Pool(1) as pool:
        return pool.apply_async(function, arguments).get(timeout)


class PytestProcess:
    """A pytest in a folder, with a process group of its own, as `subprocess.Popen` would start it.

    What it prints goes to a file.
    """

    def __init__(self, folder: Path, output: Path, arguments: Sequence[str]) -> None:
        self._process = _CONTEXT.Process(
            target=_run_pytest, args=(folder, output, list(arguments), dict(os.environ))
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("pytest", timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it may have ended just now
            os.kill(self.pid, number)


def _run_pytest(
    folder: Path, output: Path, arguments: list[str], environment: Mapping[str, str]
) -> None:
    import pytest

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.path.insert(0, str(folder))
    sys.argv = ["pytest", *arguments]
    sys.exit(pytest.console_main())
