"""The claims on models and tokenizers that this project did not make.

PROBES_REAL_MODELS names a folder of them: CONTRIBUTING.md says how to fill it. Each is decided by a
run of its own, as `probes run` decides it. A folder without weights gets the claims about
tokenizers, beside a tiny network with random weights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from probes.results.reading import read
from probes.schema.claim import catalogue
from probes.schema.record import BROKEN, Verdict
from probes.targets.vocabulary import read_pieces
from tests.support.model_folders import SMALL_DECODER, save

KNOWN_FAILURES = Path(__file__).with_name("known-failures.toml")
VARIABLE = "PROBES_REAL_MODELS"
NAMED = os.environ.get(VARIABLE, "")

OF_TOKENIZERS = {claim.id for claim in catalogue().values() if "model" not in claim.needs}
OF_SOME_TOKENIZERS = {"reference-agreement", "ids-english", "ids-japanese", "vocab-size"}
"""Those about Mistral's tokenizer, and about one that was made from a SentencePiece model."""


def find_models() -> list[Path]:
    """Return the folders with a tokenizer that are one or two levels below the named one."""
    files = ("tokenizer.json", "tokenizer.model")
    levels = [Path(NAMED).resolve().glob(f"{level}/{f}") for level in ("*", "*/*") for f in files]
    found = sorted({file.parent for level in levels for file in level})
    if not found:
        raise pytest.Collector.CollectError(
            f"{VARIABLE}={NAMED}: no folder there, nor in a folder there, has a tokenizer.json"
        )
    return found


MODELS = find_models() if NAMED else []


def with_random_weights(tokenizer: Path, folder: Path) -> Path:
    """Save a tiny network beside a copy of a tokenizer's files."""
    from transformers import AutoTokenizer, LlamaConfig

    shutil.copytree(tokenizer, folder, ignore=shutil.ignore_patterns(".*"))
    special = AutoTokenizer.from_pretrained(folder)
    config = LlamaConfig(
        vocab_size=max(read_pieces(folder).values()) + 1,
        bos_token_id=special.bos_token_id,
        eos_token_id=special.eos_token_id,
        tie_word_embeddings=True,
        **SMALL_DECODER,
    )
    save(folder, config)
    return folder


@pytest.mark.real
@pytest.mark.parametrize("model", MODELS or [None], ids=lambda folder: folder and folder.name)
def test_claims_are_decided_on_a_real_model(model: Path | None, tmp_path: Path) -> None:
    if model is None:
        pytest.skip(
            f"no real models: set {VARIABLE} to a folder of them, made for example by "
            "hf download HuggingFaceTB/SmolLM2-135M-Instruct --local-dir FOLDER/smollm2"
        )
    words = ["--known-failures", str(KNOWN_FAILURES), "--report-dir", "reports", "-q", "--tb=no"]
    if not any(model.glob("*.safetensors")):
        model = with_random_weights(model, tmp_path / model.name)
        words += [word for claim in sorted(OF_TOKENIZERS) for word in ("--claim", claim)]
    done = subprocess.run(
        [sys.executable, "-m", "probes", "run", str(model), *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)  # -rP shows it
    records = list(tmp_path.glob("reports/*/*/record.json"))
    assert records, done.stdout
    claims = read(records[0]).claims
    absent = {
        claim.id: claim.reason
        for claim in claims
        if claim.id in OF_TOKENIZERS - OF_SOME_TOKENIZERS
        and claim.verdict is Verdict.NOT_APPLICABLE
    }
    assert len(absent) <= 1, absent
    red = {c.id: c.reason for c in claims if c.verdict in BROKEN and not c.known_failure}
    assert red == {}
    assert done.returncode == 0, done.stdout
