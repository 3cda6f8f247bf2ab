from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from probes.schema.claim import FACTS
from probes.targets.capabilities import explain_missing
from probes.targets.checkpoint import Checkpoint
from probes.targets.safetensors import Tensor
from probes.targets.target import EMBEDDED_FOLDER, Target
from probes.targets.vocabulary import Vocabulary, read_pieces

Explain = Callable[..., str | None]

MISTRAL = read_pieces(EMBEDDED_FOLDER)
OTHER = {f"piece {i}": i for i in range(100)}


@pytest.fixture
def explain(tmp_path: Path) -> Explain:
    """Explain why a target cannot decide claims with a need; keywords are its folder's files."""

    def make(
        need: str,
        pieces: Mapping[str, int] = OTHER,
        config: Mapping[str, Any] | None = None,
        weights: int = 4,
        fields: Mapping[str, Any] | None = None,
        **files: Any,
    ) -> str | None:
        for name, content in ({"tokenizer.json": {}} | files).items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            (tmp_path / name).write_bytes(data)
        tensors = {"a": Tensor("U8", (weights,))}
        checkpoint = Checkpoint(tmp_path, config or {}, Vocabulary(pieces, None), tensors)
        return explain_missing(
            need, Target(name="mine", folder=Path("mine"), **fields or {}), checkpoint
        )

    return make


@pytest.mark.parametrize("need", [*FACTS, "chat"])
def test_every_need_is_met_or_has_a_reason_in_one_line(need: str, explain: Explain) -> None:
    reason = explain(need)
    assert reason is None or (reason and "\n" not in reason)


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        ("mistral-7b", "its weights are not those of Mistral-7B-v0.1; if they are"),
        ("gpt2-xl", "its weights are not those of GPT-2 XL; if they are"),
        (
            "bos",
            "its tokenizer's files do not ask for a beginning-of-sequence token; if it should "
            "insert one",
        ),
    ],
)
def test_need_that_cannot_be_seen_must_be_declared(
    need: str, reason: str, explain: Explain
) -> None:
    assert explain(need) == f'{reason}, declare provides = ["{need}"] for it in a targets file'
    assert explain(need, fields={"provides": [need]}) is None


# --- Mistral's tokenizer ------------------------------------------------------------------------


@pytest.mark.parametrize(("damaged", "known"), [(0, True), (3200, True), (3201, False)])
def test_damaged_tokenizer_of_mistral_is_recognised(
    damaged: int, known: bool, explain: Explain
) -> None:
    swapped = {piece: i + 1 if i >= 32000 - damaged else i for piece, i in MISTRAL.items()}
    assert explain("mistral-tokenizer", swapped) == (
        None
        if known
        else "its tokenizer is not Mistral-7B-v0.1's: 28799 of 32000 pieces at the same id"
    )


LOST_BOS = {"tokenizer_config.json": {"bos_token": "<s>", "add_bos_token": False}}
DECLARED = {"provides": ["mistral-tokenizer"]}


@pytest.mark.parametrize(
    ("need", "given", "reason"),
    [
        ("mistral-tokenizer", {"fields": DECLARED}, None),
        ("bos", {"fields": DECLARED}, None),
        # A Mistral that lost its BOS must fail the claims.
        ("bos", {"pieces": MISTRAL, **LOST_BOS}, None),
        ("bos", {"tokenizer_config.json": {"bos_token": "<s>", "add_bos_token": True}}, None),
        ("sentencepiece", {"fields": DECLARED}, None),
        ("sentencepiece", {"pieces": MISTRAL}, None),
        ("sentencepiece", {"tokenizer.model": b"\n\x0e"}, None),
        (
            "sentencepiece",
            {},
            "its folder has no SentencePiece model (tokenizer.model) to compare it with",
        ),
        ("chat", {}, "its tokenizer has no chat template"),
        (
            "chat",
            {"tokenizer_config.json": {"chat_template": ""}},
            "its tokenizer has no chat template",
        ),
        ("chat", {"tokenizer_config.json": {"chat_template": "{{ messages }}"}}, None),
        ("chat", {"chat_template.jinja": b"{{ messages }}"}, None),
        (
            "nf4",
            {"config": {"quantization_config": {"quant_method": "gptq"}}},
            "its weights are stored quantized (gptq)",
        ),
    ],
)
def test_need_is_read_from_the_folder(
    need: str, given: dict[str, Any], reason: str | None, explain: Explain
) -> None:
    assert explain(need, **given) == reason


# --- NF4 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "is_installed", "reason"),
    [
        ({"weights": 2**30}, True, None),
        (
            {"weights": 3 * 2**30},
            True,
            "it is not loaded in NF4, and too large (3.0 GiB) for an NF4 copy to be loaded beside "
            "it; run it with --quantization nf4",
        ),
        ({}, False, "bitsandbytes, which quantizes to NF4, is not installed"),
        ({"weights": 2**40, "fields": {"quantization": "nf4"}}, False, None),
    ],
)
def test_nf4_needs_bitsandbytes_and_a_small_model(
    given: dict[str, Any],
    is_installed: bool,
    reason: str | None,
    explain: Explain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = object() if is_installed else None
    monkeypatch.setattr("probes.targets.capabilities.find_spec", lambda _: found)
    monkeypatch.setattr("probes.targets.capabilities.version", lambda _: "5.0.0")
    assert explain("nf4", **given) == reason


@pytest.mark.parametrize(
    ("installed", "cuda", "can"),
    [("4.46.3", False, False), ("4.52.4", False, False), ("4.46.3", True, True),
     ("4.53.0", False, True), ("5.0.0", False, True)],
)  # fmt: skip
def test_older_transformers_needs_cuda_for_nf4(
    installed: str, cuda: bool, can: bool, explain: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probes.targets.capabilities.find_spec", lambda _: object())
    monkeypatch.setattr("probes.targets.capabilities.version", lambda _: installed)
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    assert explain("nf4") == (
        None
        if can
        else f"without a CUDA device transformers {installed} cannot load 4-bit weights: "
        "install 4.53 or later"
    )
