"""Facts about a target that claims need: why they cannot be decided where one is missing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec

from packaging.version import Version

from probes._util.jsonfile import MEBIBYTE
from probes.schema.claim import FACTS, REFERENCE
from probes.targets.chat_templates import explain_missing_template
from probes.targets.checkpoint import Checkpoint
from probes.targets.target import EMBEDDED_FOLDER, Quantization, Target
from probes.targets.vocabulary import SENTENCEPIECE_FILE, read_pieces

TWIN_LIMIT = 1024 * MEBIBYTE
"""Bytes of weights up to which a copy of a model may be loaded beside it."""

_SAME_TOKENIZER = 0.9
_NF4_WITHOUT_CUDA = Version("4.53")


def explain_missing(need: str, target: Target, checkpoint: Checkpoint) -> str | None:
    """Return why a target cannot decide claims with a need, a fact or `chat`; None if it can."""
    if need in target.provides:
        return None
    if need == REFERENCE:
        return NO_REFERENCE
    if need in _UNDECLARED:
        return f'{_UNDECLARED[need]}, declare provides = ["{need}"] for it in a targets file'
    return _CHECKS[need](target, checkpoint)


def explain_without_files(need: str, target: Target) -> str | None:
    """Return why a served target cannot decide claims with a need of `FACTS`; None if it can."""
    if need in target.provides or need not in FACTS:
        return None
    return NO_REFERENCE if need == REFERENCE else "a server computes it: its files are not read"


NO_REFERENCE = "no reference says what it should compute: name one with --reference"

_UNDECLARED = {
    "mistral-7b": "its weights are not those of Mistral-7B-v0.1; if they are",
    "gpt2-xl": "its weights are not those of GPT-2 XL; if they are",
}
"""What only a target's own declaration can tell."""


def _explain_missing_bos(target: Target, checkpoint: Checkpoint) -> str | None:
    # Mistral's inserts it whatever its files say: one that lost it must fail the claims.
    if checkpoint.promises_bos or explain_missing("mistral-tokenizer", target, checkpoint) is None:
        return None
    return (
        "its tokenizer's files do not ask for a beginning-of-sequence token; if it should insert "
        'one, declare provides = ["bos"] for it in a targets file'
    )


def _explain_missing_sentencepiece(target: Target, checkpoint: Checkpoint) -> str | None:
    # Of Mistral's tokenizer the SentencePiece model is at hand; others must bring their own.
    is_mistral = explain_missing("mistral-tokenizer", target, checkpoint) is None
    if is_mistral or checkpoint.sentencepiece_file:
        return None
    return f"its folder has no SentencePiece model ({SENTENCEPIECE_FILE}) to compare it with"


def _explain_missing_mistral_tokenizer(_: Target, checkpoint: Checkpoint) -> str | None:
    # Most pieces are enough: a damaged copy must fail its claims, not slip out of them.
    shared, total = _shared_pieces(checkpoint)
    if shared >= _SAME_TOKENIZER * total:
        return None
    return f"its tokenizer is not Mistral-7B-v0.1's: {shared} of {total} pieces at the same id"


@lru_cache(maxsize=8)
def _shared_pieces(checkpoint: Checkpoint) -> tuple[int, int]:
    reference = read_pieces(EMBEDDED_FOLDER)
    return sum(checkpoint.pieces.get(piece) == i for piece, i in reference.items()), len(reference)


def _explain_missing_nf4(target: Target, checkpoint: Checkpoint) -> str | None:
    if target.quantization is Quantization.NF4:
        return None
    if target.gguf is not None:
        return "transformers quantizes no weights that it reads from a GGUF file"
    if checkpoint.stored_quantization is not None:
        return f"its weights are stored quantized ({checkpoint.stored_quantization})"
    if find_spec("bitsandbytes") is None:
        return "bitsandbytes, which quantizes to NF4, is not installed"
    if (reason := nf4_is_beyond_transformers()) is not None:
        return reason
    if checkpoint.weight_bytes > TWIN_LIMIT:
        return (
            "it is not loaded in NF4, and too large "
            f"({checkpoint.weight_bytes / TWIN_LIMIT:.1f} GiB) for an NF4 copy to be loaded "
            "beside it; run it with --quantization nf4"
        )
    return None


def _explain_missing_quantized(target: Target, checkpoint: Checkpoint) -> str | None:
    if target.quantization is not Quantization.NONE:
        return None
    if checkpoint.stored_quantization in (None, "bitsandbytes"):
        stored_here = checkpoint.stored_quantization is not None
        return None if stored_here else _explain_missing_nf4(target, checkpoint)
    return (
        f"its weights are stored quantized ({checkpoint.stored_quantization}): only those that "
        "bitsandbytes stored can be decoded here"
    )


def _explain_missing_chat(_: Target, checkpoint: Checkpoint) -> str | None:
    return explain_missing_template(checkpoint.folder)


_CHECKS: dict[str, Callable[[Target, Checkpoint], str | None]] = {
    "bos": _explain_missing_bos,
    "sentencepiece": _explain_missing_sentencepiece,
    "mistral-tokenizer": _explain_missing_mistral_tokenizer,
    "nf4": _explain_missing_nf4,
    "quantized": _explain_missing_quantized,
    "chat": _explain_missing_chat,
}
"""What a target's files tell."""


def nf4_is_beyond_transformers() -> str | None:
    """Return why the installed transformers cannot load NF4 weights here; None if it can.

    An older one asks for CUDA, though bitsandbytes may not.
    """
    installed = version("transformers")
    if Version(installed) >= _NF4_WITHOUT_CUDA:
        return None
    import torch

    if torch.cuda.is_available():
        return None
    return (
        f"without a CUDA device transformers {installed} cannot load 4-bit weights: "
        f"install {_NF4_WITHOUT_CUDA} or later"
    )
