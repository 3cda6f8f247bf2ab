"""Processes of their own that start with torch imported, which takes seconds otherwise.

One server a session imports the libraries and computes nothing; every process is forked from it.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# None that pytest rewrites: it warns of those imported before it.
IMPORTED = ["torch", "transformers.models.llama", "transformers.models.mistral.modeling_mistral"]

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *IMPORTED,
        "transformers.models.mixtral",
        "mistral_common.tokens.tokenizers.tekken",  # transformers imports it with a tokenizer
        "sklearn.metrics",
        "altair",
        "hypothesis",  # its plugin imports it at the end of each run
        "pytest",
    ]
)

WARM = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Options of a pytest whose warnings are errors: what plugins bring is imported by then."""


def call_apart(function: Callable[..., Any], *arguments: Any, timeout: float = 300) -> Any:
    """Call a module's function in a process of its own; return what it returns, or raise that."""
    with CONTEXT.Pool(1) as pool:
        return pool.apply_async(function, arguments).get(timeout)


def run_module(
    module: str, folder: Path, *arguments: str, package: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m MODULE` in a folder; `package` is a folder that modules are found in first."""
    with TemporaryDirectory() as kept:
        files = Path(kept, "output"), Path(kept, "errors")
        process = ModuleProcess(module, folder, arguments, *files, package=package)
        code = process.wait(timeout=300)
        printed = [file.read_text(encoding="utf-8") for file in files]
    return subprocess.CompletedProcess([module, *arguments], code, *printed)


class ModuleProcess:
    """A `python -m MODULE` in a folder, with a process group of its own, as `subprocess.Popen`."""

    def __init__(
        self,
        module: str,
        folder: Path,
        arguments: Sequence[str],
        output: Path,
        errors: Path | None = None,
        *,
        package: Path | None = None,
    ) -> None:
        path = [str(package or folder)]
        self._process = CONTEXT.Process(
            target=_run, args=(module, folder, arguments, output, errors, path, dict(os.environ))
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
            raise subprocess.TimeoutExpired("python", timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it may have ended just now
            os.kill(self.pid, number)


def _run(
    module: str,
    folder: Path,
    arguments: Sequence[str],
    output: Path,
    errors: Path | None,
    path: list[str],
    environment: Mapping[str, str],
) -> None:
    os.setsid()
    move_to(folder, environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in ((1, output), (2, errors)):
        with file.open("wb") if file else os.fdopen(os.dup(1), "wb") as opened:
            os.dup2(opened.fileno(), number)
    if "-n" in arguments:
        from tests.support.warm_worker import fork_ahead

        fork_ahead(int(arguments[arguments.index("-n") + 1]))
    sys.path[:0] = path
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def move_to(folder: Path, environment: Mapping[str, str]) -> None:
    """Continue in a folder, in an environment."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
