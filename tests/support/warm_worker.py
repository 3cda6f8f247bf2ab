"""Workers of pytest-xdist that start with torch imported."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import execnet.gateway_io
from execnet.gateway_base import ExecModel, Popen2IO

from tests.support.warm_process import CONTEXT, move_to


class _Started(NamedTuple):
    process: BaseProcess
    to_worker: BinaryIO
    from_worker: BinaryIO


_AHEAD: list[_Started] = []


class WarmWorker(Popen2IO):
    """Takes the place of execnet's `Popen2IOMaster`, which starts an interpreter."""

    def __init__(self, _: Sequence[str], execmodel: ExecModel) -> None:
        started = _AHEAD.pop(0) if _AHEAD else _start(CONTEXT)
        self._process = started.process
        super().__init__(started.to_worker, started.from_worker, execmodel)

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def fork_ahead(count: int) -> None:
    """Fork the workers of a run from this process, which has torch imported, before it begins."""
    while len(_AHEAD) < count:  # each closes the ends of those before it
        _AHEAD.append(_start(multiprocessing.get_context("fork")))
    execnet.gateway_io.Popen2IOMaster = WarmWorker  # type: ignore[misc, assignment]


def _start(context: Any) -> _Started:
    (theirs_in, ours_out), (ours_in, theirs_out) = CONTEXT.Pipe(False), CONTEXT.Pipe(False)
    ours = (ours_out, ours_in)
    process = context.Process(
        target=_serve, args=(theirs_in, theirs_out, ours, Path.cwd(), dict(os.environ)), daemon=True
    )
    process.start()
    to_worker = os.fdopen(os.dup(ours_out.fileno()), "wb")
    from_worker = os.fdopen(os.dup(ours_in.fileno()), "rb")
    for each in (theirs_in, theirs_out, *ours):
        each.close()
    return _Started(process, to_worker, from_worker)


def _serve(
    reader: Connection,
    writer: Connection,
    others: Sequence[Connection],
    folder: Path,
    environment: Mapping[str, str],
) -> None:
    # A worker ends where its controller closes the pipe: no worker may hold that end, too.
    for end in others:
        end.close()
    for started in _AHEAD:
        started.to_worker.close()
        started.from_worker.close()
    move_to(folder, environment)
    for each, number in ((reader, 0), (writer, 1)):
        os.dup2(each.fileno(), number)
        each.close()
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    exec(eval(sys.stdin.readline()), {})  # noqa: S102, S307 - as execnet's interpreter does
