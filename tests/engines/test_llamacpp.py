"""The process that serves a GGUF file, with other programs in the place of llama.cpp."""

from __future__ import annotations

import re
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from probes.engines.endpoint import llamacpp
from probes.engines.endpoint.llamacpp import CONTEXT, SLOTS, check, serve
from probes.errors import UnusableTargetError
from probes.plugin.session import choose_targets

if TYPE_CHECKING:
    from pathlib import Path

ANSWERS = 'print(\'{"address": "http://127.0.0.1:1"}\', flush=True)\n'
HANGS = "import time\ntime.sleep(60)\n"
FAILS = """
import sys
print("x" * 200_000, file=sys.stderr)
print("0.00.061.894 E load: error loading: key k-0123456789 is wrong", file=sys.stderr)
print("0.00.061.895 E load: failed to load model", file=sys.stderr)
print("0.00.061.896 I srv: bye", file=sys.stderr)
sys.exit(3)
"""
SAYS_NUMBERS = """
import json, sys
print(json.dumps({"address": " ".join(sys.argv[2:])}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose first bytes are those of a GGUF file."""
    monkeypatch.setattr(llamacpp, "find_spec", lambda _: True)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    return file


def test_check_names_what_is_no_gguf_file(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    with pytest.raises(UnusableTargetError, match=r"^no file "):
        check(file)
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(UnusableTargetError, match="is no GGUF file: its first bytes are not GGUF"):
        check(file)


def test_session_prepares_a_file_without_a_server(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp, "serve", lambda _: pytest.fail("a server is started"))
    session = choose_targets([str(file)])
    session.prepare(session.targets, copies=2)
    file.write_bytes(b"none")
    with pytest.raises(UnusableTargetError, match=r"^target 'model\.gguf': .* is no GGUF file"):
        session.prepare(session.targets, copies=2)


def test_serve_passes_numbers_and_threads(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp, "_PROGRAM", SAYS_NUMBERS)
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    server = serve(file)
    server.stop()
    assert server.address == f"{CONTEXT * SLOTS} {SLOTS} 4"
    assert server.process.returncode == 0


def test_serve_quotes_the_reason(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBES_API_KEY", "k-0123456789")
    monkeypatch.setattr(llamacpp, "_PROGRAM", FAILS)
    reason = "load: error loading: key <secret> is wrong | load: failed to load model"
    with pytest.raises(UnusableTargetError, match=rf"cannot load .*: {re.escape(reason)}$"):
        serve(file)


def test_serve_tells_the_status_of_a_silent_end(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp, "_PROGRAM", "import sys; sys.exit(3)")
    with pytest.raises(UnusableTargetError, match="it ended with 3"):
        serve(file)


def test_serve_ends_a_program_that_loads_too_long(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp, "_PROGRAM", HANGS)
    monkeypatch.setattr(llamacpp, "LONGEST_LOADING", 0.5)
    with pytest.raises(UnusableTargetError, match="it took more than "):
        serve(file)


def test_server_that_does_not_stop_is_killed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp, "_PROGRAM", ANSWERS + HANGS)
    server = serve(file)
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 5
    assert server.process.returncode is not None


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="llama.cpp is not installed")
def test_llama_cpp_says_why_it_loads_no_file(file: Path) -> None:
    with pytest.raises(UnusableTargetError, match=r"cannot load .*model\.gguf: .*fail") as failed:
        serve(file)
    assert "\n" not in str(failed.value)
