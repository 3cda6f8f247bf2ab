"""Serve a GGUF file with llama.cpp, in a process of its own, on an address of this machine."""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from probes._util.redaction import Redactor
from probes.errors import UnusableTargetError, UserError
from probes.targets import gguf

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

CONTEXT = 512
"""Token positions of each request: the claims' prompts take 100 and get 60 more, at most."""

SLOTS = 4
"""Requests that are computed at once."""

LONGEST_LOADING = 600.0
"""Seconds that loading may take."""

_STOPPING = 1.0
"""Seconds that a server may take to stop."""

_LONGEST_LINE = 200
"""Characters of a line of llama.cpp's log that a message quotes."""

_TIME = re.compile(r"[\d.]+ [A-Z] ")
"""What llama.cpp writes before a line: when, and how grave it is."""

_PROGRAM = """
import json, os, sys, xllamacpp
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what else the server prints is not read
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel, threads = map(int, sys.argv[2:5])
params.kv_unified = False  # else other requests change how a text is computed
params.cpuparams.n_threads = threads or params.cpuparams.n_threads
if sys.argv[5:]:
    kept_as = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + sys.argv[5])
    params.cache_type_k = params.cache_type_v = kept_as
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
server = xllamacpp.Server(params)
print(json.dumps({"address": server.listening_address}), file=answer, flush=True)
sys.stdin.read()
del server
"""


@dataclass
class Server:
    """A server of one file; it stops with this process."""

    file: Path
    address: str
    process: subprocess.Popen[str] = field(repr=False)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the record says of the file; of a large one its beginning is hashed."""
        size, digest = self.file.stat().st_size, gguf.fingerprint(self.file)
        return {"source": "gguf", "fingerprint": digest, "weight_bytes": size}

    def stop(self) -> None:
        """Stop the server."""
        _close_pipes(self.process)  # at the end of its input the program ends
        try:
            self.process.wait(_STOPPING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def check(file: Path) -> None:
    """Raise UnusableTargetError if there is no such file, it is no GGUF file, or no llama.cpp."""
    try:
        gguf.check_magic(file)
    except UserError as error:
        raise UnusableTargetError(str(error)) from None
    if find_spec("xllamacpp") is None:
        raise UnusableTargetError(
            "a GGUF file needs llama.cpp, from the package xllamacpp, which is not installed: "
            "python -m pip install xllamacpp httpx2"
        )


def serve(file: Path, cache_type: str | None = None) -> Server:
    """Start a server, or raise UnusableTargetError with llama.cpp's reason.

    `cache_type` is the type of ggml, such as `Q8_0`, in which keys and values are kept. llama.cpp's
    own default is F16; values are quantized under flash attention alone.
    """
    check(file)
    threads = count_threads(os.environ.get("OMP_NUM_THREADS", ""))
    settings = [str(CONTEXT * SLOTS), str(SLOTS), str(threads), *filter(None, [cache_type])]
    with tempfile.TemporaryFile() as log:  # a pipe that is not read would fill
        process = subprocess.Popen(  # noqa: S603 - the file is an argument, not a command
            [sys.executable, "-c", _PROGRAM, str(file), *settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is this process's: it stops the server
        )
        overdue = threading.Event()
        address = _await_address(process, overdue)
        if address is not None:
            server = Server(file, address, process)
            atexit.register(server.stop)
            return server
        _close_pipes(process)
        if overdue.is_set():
            reason = f"it took more than {LONGEST_LOADING:.0f} seconds"
        else:
            reason = _read_reason(log) or f"it ended with {process.returncode}"
    raise UnusableTargetError(f"llama.cpp cannot load {file}: {reason}")


def count_threads(text: str) -> int:
    """Return the first number of OMP_NUM_THREADS, which may name one a level; 0 for none.

    >>> count_threads("4,2"), count_threads(""), count_threads("many")
    (4, 0, 0)
    """
    number = re.match(r"\s*([0-9]{1,4})", text)
    return int(number[1]) if number else 0


def _await_address(process: subprocess.Popen[str], overdue: threading.Event) -> str | None:
    """Return where a server listens once its model is loaded; None if it ended instead."""

    def end() -> None:
        overdue.set()
        process.kill()

    timer = threading.Timer(LONGEST_LOADING, end)
    timer.daemon = True
    timer.start()
    assert process.stdout is not None  # as a pipe was asked for
    try:
        for line in process.stdout:
            if line.startswith('{"address"'):
                return str(json.loads(line)["address"])
        process.wait()
    except BaseException:
        process.kill()
        raise
    finally:
        timer.cancel()
    return None


def _close_pipes(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _read_reason(log: IO[bytes]) -> str:
    """Return the first and the last line of a log that name an error, or else its last lines."""
    log.seek(0)
    text = Redactor.for_secrets().redact_text(log.read().decode(errors="replace"))
    lines = [_TIME.sub("", line).strip() for line in text.splitlines()]
    errors = [line for line in lines if re.search("error|fail", line, re.IGNORECASE)]
    found = [*errors[:1], *errors[-1:]] if errors else [line for line in lines if line][-2:]
    return " | ".join(line[:_LONGEST_LINE] for line in dict.fromkeys(found))
