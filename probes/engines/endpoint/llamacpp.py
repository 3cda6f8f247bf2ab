"""Serve a GGUF file with llama.cpp, in a process of its own, on an address of this machine."""

from __future__ import annotations

import atexit
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from probes.errors import UnusableTargetError

if TYPE_CHECKING:
    from pathlib import Path

CONTEXT = 4096
"""Token positions of each request, at most those that the model was trained for."""

SLOTS = 4
"""Requests that are computed at once."""

_HASHED = 2**26
"""Bytes of a file that its fingerprint covers."""

_PROGRAM = """
import json, os, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
params.kv_unified = False  # else other requests change how a text is computed
params.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS", params.cpuparams.n_threads))
server = xllamacpp.Server(params)
print(json.dumps({"address": server.listening_address}), flush=True)
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
        size = self.file.stat().st_size
        digest = hashlib.sha256(f"{size}\0".encode())
        with self.file.open("rb") as stream:
            digest.update(stream.read(_HASHED))
        return {"source": "gguf", "fingerprint": digest.hexdigest(), "weight_bytes": size}

    def stop(self) -> None:
        """Stop the server."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


def serve(file: Path) -> Server:
    """Start a server, or raise UnusableTargetError: no such file, no llama.cpp, or it refuses."""
    if not file.is_file():
        raise UnusableTargetError(f"no file {file}")
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise UnusableTargetError(f"{file} is no GGUF file: its first bytes are not GGUF")
    if find_spec("xllamacpp") is None:
        raise UnusableTargetError(
            "a GGUF file needs llama.cpp, from the package xllamacpp, which is not installed: "
            "python -m pip install xllamacpp httpx2"
        )
    process = subprocess.Popen(  # noqa: S603 - the file is an argument, not a command
        [sys.executable, "-c", _PROGRAM, str(file), str(CONTEXT * SLOTS), str(SLOTS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None  # as a pipe was asked for
    for line in process.stdout:
        if line.startswith('{"address"'):
            server = Server(file, json.loads(line)["address"], process)
            atexit.register(server.stop)
            return server
    raise UnusableTargetError(f"llama.cpp cannot load {file}: it ended with {process.wait()}")
