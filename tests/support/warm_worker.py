"""Workers of pytest-xdist that start with torch imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from execnet.gateway_base import ExecModel, Popen2IO

from tests.support.warm_process import CONTEXT, move_to


class WarmWorker(Popen2IO):
    """Takes the place of execnet's `Popen2IOMaster`, which starts an interpreter."""

    def __init__(self, _: Sequence[str], execmodel: ExecModel) -> None:
        (theirs_in, ours_out), (ours_in, theirs_out) = CONTEXT.Pipe(False), CONTEXT.Pipe(False)
        self._process = CONTEXT.Process(
            target=_serve, args=(theirs_in, theirs_out, Path.cwd(), dict(os.environ))
        )
        self._process.start()
        to_worker = os.fdopen(os.dup(ours_out.fileno()), "wb")
        from_worker = os.fdopen(os.dup(ours_in.fileno()), "rb")
        for each in (theirs_in, theirs_out, ours_in, ours_out):
            each.close()
        super().__init__(to_worker, from_worker, execmodel)

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def _serve(
    reader: Connection, writer: Connection, folder: Path, environment: Mapping[str, str]
) -> None:
    move_to(folder, environment)
    for each, number in ((reader, 0), (writer, 1)):
        os.dup2(each.fileno(), number)
        each.close()
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    exec(eval(sys.stdin.readline()), {})  # noqa: S102, S307 - as execnet's interpreter does
