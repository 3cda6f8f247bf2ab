"""Figures of what a fault in attention, positions or precision would change."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from probes.training.corpus import Corpus
from probes.training.subject import PROMPT, PUBLISHED_QUESTIONS, STORIES, Figure, Subject

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_UNSEEN_SEED = 1000
"""Seed of texts drawn for measuring: not the seed of training."""

_CUE = "Please write to"


def recall_figures(subject: Subject) -> list[Figure]:
    """Measure whether a name told once is recalled, inside the window and beyond it."""
    near: list[bool] = []
    far: list[bool] = []
    window = subject.model.config.sliding_window
    letters = (d for d in Corpus(_UNSEEN_SEED).documents() if _CUE in d)
    for letter in islice(letters, 120):
        before, after = letter.split(_CUE, 1)
        name = after.split()[0]
        ids = subject.tokenizer(before + _CUE, add_special_tokens=False)["input_ids"]
        told = subject.tokenizer(before.split(name, 1)[0], add_special_tokens=False)["input_ids"]
        best = subject.logits(ids)[-1].argmax()
        right = subject.tokenizer.convert_ids_to_tokens(int(best)) == f"\u2581{name}"
        (near if len(ids) - len(told) <= window else far).append(right)
    shown = " / ".join(f"{sum(kind) / len(kind):.2f} of {len(kind)}" for kind in (near, far))
    return [Figure("names recalled from inside / beyond the window", shown)]


def sensitivity_figures(subject: Subject) -> list[Figure]:
    """Measure how far small faults move the next-token distributions of long texts."""
    documents = Corpus(_UNSEEN_SEED).documents()
    rows = [
        subject.tokenizer("".join(islice(documents, 12)), add_special_tokens=False)["input_ids"]
        for _ in range(8)
    ]
    rows = [row[:256] for row in rows if len(row) >= 256]
    right = [subject.logits(row) for row in rows]
    lines = []
    window = subject.model.config.sliding_window
    for name, width in (("63", 63), ("65", 65), ("4096", 4096)):
        subject.model.config.sliding_window = width
        moved = [subject.logits(row) for row in rows]
        lines.append(Figure(f"divergence with a window of {name}", _divergence(right, moved)))
    subject.model.config.sliding_window = window
    shifted = [subject.logits(row, skip_position=128) for row in rows]
    lines.append(Figure("divergence with position 128 skipped", _divergence(right, shifted)))
    return lines


def nf4_figures(subject: Subject, folder: Path) -> list[Figure]:
    """Measure how far 4-bit NF4 weights move the logits after the standard prompts."""
    quantized = Subject(
        folder,
        AutoModelForCausalLM.from_pretrained(
            str(folder),
            quantization_config=BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=torch.float32,
            ),
        ),
    )
    prompts = [PROMPT, *STORIES, *PUBLISHED_QUESTIONS]
    rows = [subject.tokenizer(prompt)["input_ids"] for prompt in prompts]
    pairs = [(subject.logits(row), quantized.logits(row)) for row in rows]
    cosine = min(float(functional.cosine_similarity(a, b, dim=-1).min()) for a, b in pairs)
    same = sum(int(a[-1].argmax() == b[-1].argmax()) for a, b in pairs)
    return [
        Figure("NF4: cosine of logits, least", f"{cosine:.3f}"),
        Figure("NF4: same most likely next token", f"{same} of {len(pairs)} prompts"),
    ]


def _divergence(right: list[Tensor], moved: list[Tensor]) -> str:
    kl = torch.cat(
        [
            functional.kl_div(
                b.log_softmax(-1), a.log_softmax(-1), log_target=True, reduction="none"
            ).sum(-1)
            for a, b in zip(right, moved, strict=True)
        ]
    )
    return f"mean {float(kl.mean()):.1e}, most {float(kl.max()):.2f} nats"
