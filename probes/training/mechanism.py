"""Figures that a fault in attention, positions or precision would change."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from probes.training.corpus import Corpus
from probes.training.subject import PROMPTS, Figure

if TYPE_CHECKING:
    from torch import Tensor

    from probes.engines.transformers.engine import TransformersEngine

_TEXT_SEED = 1000
"""Seed of the measured texts: not the seed of training."""

_CUE = "Please write to"


def recall_figures(model: TransformersEngine) -> list[Figure]:
    """Measure whether a name given once is recalled, inside the window and beyond it."""
    near: list[bool] = []
    far: list[bool] = []
    window = model.network.config.sliding_window
    letters = (d for d in Corpus(_TEXT_SEED).documents() if _CUE in d)
    for letter in islice(letters, 120):
        before, after = letter.split(_CUE, 1)
        name = after.split()[0]
        ids = model.encode(before + _CUE, add_special_tokens=False)
        start = model.encode(before.split(name, 1)[0], add_special_tokens=False)
        best = int(model.logits(ids)[-1].argmax())
        right = model.tokens([best]) == [f"\u2581{name}"]
        (near if len(ids) - len(start) <= window else far).append(right)
    value = " / ".join(f"{sum(kind) / len(kind):.2f} of {len(kind)}" for kind in (near, far))
    return [Figure("names recalled from inside / beyond the window", value)]


def sensitivity_figures(model: TransformersEngine) -> list[Figure]:
    """Measure how far small faults move the next-token distributions of long texts."""
    documents = Corpus(_TEXT_SEED).documents()
    texts = ["".join(islice(documents, 12)) for _ in range(8)]
    rows = [model.encode(text, add_special_tokens=False)[:256] for text in texts]
    inputs = torch.tensor([row for row in rows if len(row) == 256])
    positions = torch.arange(256)
    right = compute_logits(model, inputs, positions)
    lines = []
    config = model.network.config
    window = config.sliding_window
    for width in (63, 65, 4096):
        config.sliding_window = width
        moved = compute_logits(model, inputs, positions)
        lines.append(Figure(f"divergence with a window of {width}", _divergence(right, moved)))
    config.sliding_window = window
    shifted = compute_logits(model, inputs, positions + (positions >= 128))
    lines.append(Figure("divergence with position 128 skipped", _divergence(right, shifted)))
    return lines


def nf4_figures(model: TransformersEngine) -> list[Figure]:
    """Measure how far 4-bit NF4 weights move the logits after the standard prompts."""
    quantized = model.variant(quantization="nf4", dtype="float32")
    pairs = [(model.logits(prompt), quantized.logits(prompt)) for prompt in PROMPTS]
    cosine = min(float(functional.cosine_similarity(a, b, dim=-1).min()) for a, b in pairs)
    same = sum(int(a[-1].argmax() == b[-1].argmax()) for a, b in pairs)
    return [
        Figure("NF4: cosine of logits, least", f"{cosine:.3f}"),
        Figure("NF4: same most likely next token", f"{same} of {len(pairs)} prompts"),
    ]


@torch.inference_mode()
def compute_logits(model: TransformersEngine, ids: Tensor, positions: Tensor) -> Tensor:
    """Return the logits of rows of ids, (rows, tokens, vocabulary), at positions of their own."""
    # Without the mask a gap in the positions would be read as the start of a new text.
    mask = torch.ones_like(ids)
    rows = positions.expand_as(ids)
    logits: Tensor = model.network(input_ids=ids, attention_mask=mask, position_ids=rows).logits
    return logits


def _divergence(right: Tensor, moved: Tensor) -> str:
    new, old = moved.log_softmax(-1), right.log_softmax(-1)
    kl = functional.kl_div(new, old, log_target=True, reduction="none").sum(-1)
    return f"mean {float(kl.mean()):.1e}, most {float(kl.max()):.2f} nats"
