"""Figures that a fault in attention, positions or precision would change."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from probes.training.corpus import Corpus
from probes.training.subject import PROMPTS, Figure, Subject

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_TEXT_SEED = 1000
"""Seed of the measured texts: not the seed of training."""

_CUE = "Please write to"


def recall_figures(subject: Subject) -> list[Figure]:
    """Measure whether a name given once is recalled, inside the window and beyond it."""
    near: list[bool] = []
    far: list[bool] = []
    window = subject.model.config.sliding_window
    letters = (d for d in Corpus(_TEXT_SEED).documents() if _CUE in d)
    for letter in islice(letters, 120):
        before, after = letter.split(_CUE, 1)
        name = after.split()[0]
        ids = _encode(subject, before + _CUE)
        distance = len(ids) - len(_encode(subject, before.split(name, 1)[0]))
        best = subject.logits(ids)[-1].argmax()
        right = subject.tokenizer.convert_ids_to_tokens(int(best)) == f"\u2581{name}"
        (near if distance <= window else far).append(right)
    value = " / ".join(f"{sum(kind) / len(kind):.2f} of {len(kind)}" for kind in (near, far))
    return [Figure("names recalled from inside / beyond the window", value)]


def sensitivity_figures(subject: Subject) -> list[Figure]:
    """Measure how far small faults move the next-token distributions of long texts."""
    documents = Corpus(_TEXT_SEED).documents()
    rows = [_encode(subject, "".join(islice(documents, 12))) for _ in range(8)]
    rows = [row[:256] for row in rows if len(row) >= 256]
    right = [subject.logits(row) for row in rows]
    lines = []
    window = subject.model.config.sliding_window
    for width in (63, 65, 4096):
        subject.model.config.sliding_window = width
        moved = [subject.logits(row) for row in rows]
        lines.append(Figure(f"divergence with a window of {width}", _divergence(right, moved)))
    subject.model.config.sliding_window = window
    shifted = [subject.logits(row, skip_position=128) for row in rows]
    lines.append(Figure("divergence with position 128 skipped", _divergence(right, shifted)))
    return lines


def nf4_figures(subject: Subject, folder: Path) -> list[Figure]:
    """Measure how far 4-bit NF4 weights move the logits after the standard prompts."""
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    quantized = Subject(
        folder, AutoModelForCausalLM.from_pretrained(str(folder), quantization_config=nf4)
    )
    rows = [subject.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    pairs = [(subject.logits(row), quantized.logits(row)) for row in rows]
    cosine = min(float(functional.cosine_similarity(a, b, dim=-1).min()) for a, b in pairs)
    same = sum(int(a[-1].argmax() == b[-1].argmax()) for a, b in pairs)
    return [
        Figure("NF4: cosine of logits, least", f"{cosine:.3f}"),
        Figure("NF4: same most likely next token", f"{same} of {len(pairs)} prompts"),
    ]


def _encode(subject: Subject, text: str) -> list[int]:
    ids: list[int] = subject.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _divergence(right: list[Tensor], moved: list[Tensor]) -> str:
    new, old = (torch.cat(rows).log_softmax(-1) for rows in (moved, right))
    kl = functional.kl_div(new, old, log_target=True, reduction="none").sum(-1)
    return f"mean {float(kl.mean()):.1e}, most {float(kl.max()):.2f} nats"
