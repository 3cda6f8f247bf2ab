from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probes.schema.claim import FACTS
from probes.targets.capabilities import explain_missing
from probes.targets.checkpoint import Checkpoint
from probes.targets.safetensors import Tensor
from probes.targets.target import EMBEDDED_FOLDER, Target
from probes.targets.vocabulary import read_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MISTRAL = read_pieces(EMBEDDED_FOLDER)
OTHER = {f"piece {i}": i for i in range(100)}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Checkpoint]:
    def make(
        pieces: Mapping[str, int] = OTHER,
        config: Mapping[str, Any] | None = None,
        weights: int = 4,
        **files: Any,
    ) -> Checkpoint:
        for name, content in ({"tokenizer.json": {}} | files).items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            (tmp_path / name).write_bytes(data)
        return Checkpoint(tmp_path, config or {}, pieces, {"a": Tensor("U8", (weights,))})

    return make


def target(**fields: Any) -> Target:
    return Target(name="mine", folder=Path("mine"), **fields)


@pytest.mark.parametrize("need", [*FACTS, "chat"])
def test_every_need_is_met_or_has_a_reason_in_one_line(
    need: str, checkpoint: Callable[..., Checkpoint]
) -> None:
    reason = explain_missing(need, target(), checkpoint())
    assert reason is None or (reason and "\n" not in reason)


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        (
            "knowledge",
            "it is not known to have been trained on the facts asked; if it was, declare "
            'provides = ["knowledge"] for it in a targets file',
        ),
        (
            "mistral-7b",
            "its weights are not those of Mistral-7B-v0.1; if they are, declare "
            'provides = ["mistral-7b"] for it in a targets file',
        ),
        (
            "gpt2-xl",
            "its weights are not those of GPT-2 XL; if they are, declare "
            'provides = ["gpt2-xl"] for it in a targets file',
        ),
    ],
)
def test_what_cannot_be_seen_must_be_declared(
    need: str, reason: str, checkpoint: Callable[..., Checkpoint]
) -> None:
    assert explain_missing(need, target(), checkpoint()) == reason
    assert explain_missing(need, target(provides=[need]), checkpoint()) is None


# --- Mistral's tokenizer ------------------------------------------------------------------------


def test_mistrals_tokenizer_is_known_by_its_pieces(checkpoint: Callable[..., Checkpoint]) -> None:
    assert explain_missing("mistral-tokenizer", target(), checkpoint(MISTRAL)) is None
    assert explain_missing("mistral-tokenizer", target(), checkpoint()) == (
        "its tokenizer is not Mistral-7B-v0.1's: 0 of 32000 pieces at the same id"
    )


@pytest.mark.parametrize(("damaged", "known"), [(1, True), (3200, True), (3201, False)])
def test_a_damaged_copy_of_mistrals_tokenizer_cannot_slip_out_of_its_claims(
    damaged: int, known: bool, checkpoint: Callable[..., Checkpoint]
) -> None:
    swapped = {piece: i + 1 if i >= 32000 - damaged else i for piece, i in MISTRAL.items()}
    reason = explain_missing("mistral-tokenizer", target(), checkpoint(swapped))
    assert (reason is None) is known
    assert known or "28799 of 32000 pieces" in str(reason)


def test_a_target_that_declares_mistrals_tokenizer_must_keep_its_word(
    checkpoint: Callable[..., Checkpoint],
) -> None:
    declared = target(provides=["mistral-tokenizer"])
    for need in ("mistral-tokenizer", "bos", "sentencepiece"):
        assert explain_missing(need, declared, checkpoint()) is None


# --- BOS and the SentencePiece reference --------------------------------------------------------


def test_bos_is_expected_where_the_files_ask_for_it(checkpoint: Callable[..., Checkpoint]) -> None:
    settings = {"bos_token": "<s>", "add_bos_token": True}
    assert (
        explain_missing("bos", target(), checkpoint(**{"tokenizer_config.json": settings})) is None
    )


def test_bos_is_not_expected_where_the_files_do_not(
    checkpoint: Callable[..., Checkpoint],
) -> None:
    assert explain_missing("bos", target(), checkpoint()) == (
        "its tokenizer's files do not ask for a beginning-of-sequence token; if it should insert "
        'one, declare provides = ["bos"] for it in a targets file'
    )
    assert explain_missing("bos", target(provides=["bos"]), checkpoint()) is None


def test_mistrals_tokenizer_is_expected_to_insert_bos_whatever_its_files_say(
    checkpoint: Callable[..., Checkpoint],
) -> None:
    settings = {"bos_token": "<s>", "add_bos_token": False}
    lost = checkpoint(MISTRAL, **{"tokenizer_config.json": settings})
    assert not lost.promises_bos
    assert explain_missing("bos", target(), lost) is None


def test_the_reference_is_mistrals_own_or_one_in_the_folder(
    checkpoint: Callable[..., Checkpoint],
) -> None:
    assert explain_missing("sentencepiece", target(), checkpoint(MISTRAL)) is None
    assert explain_missing("sentencepiece", target(), checkpoint()) == (
        "its folder has no SentencePiece model (tokenizer.model) to compare it with"
    )
    with_model = checkpoint(**{"tokenizer.model": b"\n\x0e"})
    assert explain_missing("sentencepiece", target(), with_model) is None


# --- NF4 ----------------------------------------------------------------------------------------


@pytest.fixture
def bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Pretend that bitsandbytes is installed, or that it is not."""

    def pretend(installed: bool) -> None:
        found = object() if installed else None
        monkeypatch.setattr("probes.targets.capabilities.find_spec", lambda _: found)

    return pretend


def test_a_target_loaded_in_nf4_decides_its_claims(
    checkpoint: Callable[..., Checkpoint], bitsandbytes: Callable[[bool], None]
) -> None:
    bitsandbytes(False)
    assert explain_missing("nf4", target(quantization="nf4"), checkpoint(weights=2**40)) is None


def test_a_small_model_is_quantized_beside_itself(
    checkpoint: Callable[..., Checkpoint], bitsandbytes: Callable[[bool], None]
) -> None:
    bitsandbytes(True)
    assert explain_missing("nf4", target(), checkpoint(weights=2**30)) is None
    assert explain_missing("nf4", target(), checkpoint(weights=3 * 2**30)) == (
        "it is not loaded in NF4, and too large (3.0 GiB) for an NF4 copy to be loaded beside it; "
        "run it with --quantization nf4"
    )


def test_without_bitsandbytes_there_is_no_nf4(
    checkpoint: Callable[..., Checkpoint], bitsandbytes: Callable[[bool], None]
) -> None:
    bitsandbytes(False)
    assert explain_missing("nf4", target(), checkpoint()) == (
        "bitsandbytes, which quantizes to NF4, is not installed"
    )


@pytest.mark.parametrize(
    ("installed", "cuda", "can"),
    [("4.46.3", False, False), ("4.52.4", False, False), ("4.46.3", True, True),
     ("4.53.0", False, True), ("5.0.0", False, True)],
)  # fmt: skip
def test_an_older_transformers_needs_cuda_for_nf4(
    installed: str,
    cuda: bool,
    can: bool,
    checkpoint: Callable[..., Checkpoint],
    bitsandbytes: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bitsandbytes(True)
    monkeypatch.setattr("probes.targets.capabilities.version", lambda _: installed)
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    assert explain_missing("nf4", target(), checkpoint()) == (
        None
        if can
        else f"without a CUDA device transformers {installed} cannot load 4-bit weights: "
        "install 4.53 or later"
    )


def test_weights_that_are_quantized_already_are_not_quantized_again(
    checkpoint: Callable[..., Checkpoint],
) -> None:
    stored = checkpoint(config={"quantization_config": {"quant_method": "gptq"}})
    assert explain_missing("nf4", target(), stored) == "its weights are stored quantized (gptq)"


# --- a chat template ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "its tokenizer has no chat template"),
        ({"tokenizer_config.json": {"chat_template": ""}}, "its tokenizer has no chat template"),
        ({"tokenizer_config.json": {"chat_template": "{{ messages }}"}}, None),
        ({"chat_template.jinja": b"{{ messages }}"}, None),
    ],
)
def test_chat_needs_a_template_in_the_folder(
    files: dict[str, Any], reason: str | None, checkpoint: Callable[..., Checkpoint]
) -> None:
    assert explain_missing("chat", target(), checkpoint(**files)) == reason
