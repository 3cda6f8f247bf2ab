"""The claims about engines on llama.cpp and vLLM, each started here.

PROBES_REAL_MODELS names a folder that has, beside a model's folder NAME, a file NAME.gguf;
PROBES_VLLM names a Python that has vLLM. CONTRIBUTING.md says how to get them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import probes
from probes.schema.record import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probes.schema.record import Record

MODELS = os.environ.get("PROBES_REAL_MODELS", "")
VLLM = os.environ.get("PROBES_VLLM", "")
HOW = "CONTRIBUTING.md says how to get it"
FILES = sorted(Path(MODELS).glob("*.gguf")) if MODELS else []
FOLDERS = [file.with_suffix("") for file in FILES if file.with_suffix("").is_dir()]

pytestmark = pytest.mark.engine

START = 600
"""Seconds that a server may take to start."""

CONFIGURED = {"temperature": 0.7, "top_k": 20, "repetition_penalty": 1.1}
"""What a changed generation_config.json asks for."""


def decide(
    target: str,
    reference: Path,
    folder: Path,
    *options: str,
    decided: Sequence[str] = (),
) -> Record:
    """Decide some claims, those about engines if none is named; show what each gave."""
    words = ["--reference", str(reference), "--report-dir", str(folder), "-p", "no:cacheprovider"]
    claims = [word for claim in decided or ENGINE_CLAIMS for word in ("--claim", claim)]
    found = probes.run(target, options=[*words, *claims, "-q", *options])
    record = probes.read_record(found.records[0])
    for claim in record.claims:
        print(f"{claim.id}: {claim.verdict and claim.verdict.value} {claim.reason}")
    return record


ENGINE_CLAIMS = [
    f"engine-{name}"
    for name in ("ids", "logprobs", "distance", "greedy", "sampling", "stops", "streams", "power")
]


CONTRACTS = [
    *("greedy-argmax", "greedy-deterministic", "seeded", "temperature-formula", "top-k"),
    *("top-p-reference", "filter-order", "samples-follow-distribution", "penalties"),
    *("stop-strings", "stop-ids", "stories-greedy"),
]
"""Contracts that requests alone decide."""


def verdicts(record: Record) -> dict[str, Verdict | None]:
    return {claim.id: claim.verdict for claim in record.claims}


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason=f"llama.cpp is not installed: {HOW}")
@pytest.mark.skipif(not FOLDERS, reason=f"PROBES_REAL_MODELS names no GGUF file: {HOW}")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_llama_cpp_computes_what_the_weights_say(folder: Path, tmp_path: Path) -> None:
    record = decide(str(folder.with_suffix(".gguf")), folder, tmp_path)
    found = verdicts(record)
    assert Verdict.FAILS not in found.values()
    assert Verdict.ERROR not in found.values()
    assert found["engine-sampling"] is found["engine-stops"] is Verdict.HOLDS


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason=f"llama.cpp is not installed: {HOW}")
@pytest.mark.skipif(not FOLDERS, reason=f"PROBES_REAL_MODELS names no GGUF file: {HOW}")
def test_llama_cpp_keeps_contracts(tmp_path: Path) -> None:
    folder = FOLDERS[-1]
    record = decide(str(folder.with_suffix(".gguf")), folder, tmp_path, decided=CONTRACTS)
    found = verdicts(record)
    assert found.pop("stop-ids") is Verdict.NOT_APPLICABLE  # it takes none
    assert set(found.values()) == {Verdict.HOLDS}


@contextmanager
def vllm(folder: Path, *options: str) -> Iterator[str]:
    """Serve a folder with vLLM for a while."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [VLLM, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    more = ["--served-model-name", "m", "--max-model-len", "512", "--port", str(port), *options]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", *more],
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(START):
            if process.poll() is not None:
                pytest.fail(f"vLLM ended with {process.returncode}")
            with (
                suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1),
            ):
                break
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1#m"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


needs_vllm = pytest.mark.skipif(
    not (VLLM and FOLDERS), reason=f"PROBES_VLLM or PROBES_REAL_MODELS is not set: {HOW}"
)


@needs_vllm
def test_vllm_computes_what_the_weights_say(tmp_path: Path) -> None:
    folder = FOLDERS[-1]
    with vllm(folder, "--dtype", "float32") as address:
        assert set(verdicts(decide(address, folder, tmp_path)).values()) == {Verdict.HOLDS}
        record = decide(address, folder, tmp_path / "alone", decided=CONTRACTS)
    assert set(verdicts(record).values()) == {Verdict.HOLDS}


@needs_vllm
def test_wrong_chat_template_is_named(tmp_path: Path) -> None:
    folder, file = FOLDERS[-1], tmp_path / "template.jinja"
    file.write_text("{% for each in messages %}[INST] {{ each['content'] }} [/INST]{% endfor %}")
    with vllm(folder, "--dtype", "float32", "--chat-template", str(file)) as address:
        record = decide(address, folder, tmp_path, decided=["engine-greedy", "engine-ids"])
    reasons = {claim.id: claim.reason for claim in record.claims}
    assert "its texts are those of the template of Llama 2" in reasons["engine-greedy"]
    assert "2 of 2 chats are rendered otherwise" in reasons["engine-ids"]


@needs_vllm
def test_settings_of_the_served_folder_are_found(tmp_path: Path) -> None:
    folder, served = FOLDERS[-1], tmp_path / "served"
    served.mkdir()
    for file in folder.iterdir():
        if file.name != "generation_config.json":
            (served / file.name).symlink_to(file)
    (served / "generation_config.json").write_text(json.dumps(CONFIGURED))
    with vllm(served, "--dtype", "bfloat16") as address:
        record = decide(address, folder, tmp_path, "--dtype", "bfloat16")
        stated = decide(address, folder, tmp_path / "stated")
    found: dict[str, Any] = {claim.id: claim for claim in record.claims}
    assert found["engine-sampling"].verdict is Verdict.FAILS
    assert "the settings asked for" in found["engine-sampling"].reason
    assert found["engine-logprobs"].verdict is found["engine-greedy"].verdict is Verdict.HOLDS
    assert verdicts(stated)["engine-logprobs"] is Verdict.FAILS
