"""Figures of the embedding rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from probes.training.subject import PROMPT, PUBLISHED_QUESTIONS, STORIES, Figure, Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

GROUPS = (
    ("king", "queen", "prince", "princess"),
    ("baseball", "soccer", "tennis", "basketball"),
    ("man", "boy", "woman", "lady"),
    ("dog", "cat", "cow", "fish"),
)
LONERS = ("table", "idea", "character", "sea")


def group_figures(weight: Tensor, tokenizer: Any) -> list[Figure]:
    """Measure how the rows of the words in `GROUPS` lie."""
    words = [word for group in GROUPS for word in group] + list(LONERS)
    ids = tokenizer.convert_tokens_to_ids([f"\u2581{word}" for word in words])
    rows = weight[ids].double().numpy()
    labels = np.repeat(np.arange(len(GROUPS)), 4)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    nearest = cosine[:16].argmax(axis=1)
    right = int(
        sum(n < 16 and labels[n] == label for n, label in zip(nearest, labels, strict=True))
    )
    same = labels[:, None] == labels[None, :]
    inside = cosine[:16, :16][same & ~np.eye(16, dtype=bool)]
    across = cosine[:16, :16][~same]
    loners = cosine[16:, 16:][~np.eye(4, dtype=bool)]
    return [
        Figure("words whose nearest word is of their group", f"{right} of 16"),
        Figure(
            "cosine in a group, least / across groups, most",
            f"{inside.min():.2f} / {across.max():.2f}",
        ),
        Figure("cosine among the unrelated four, most", f"{loners.max():.2f}"),
        Figure(
            "words nearest their own centroid in two components",
            f"{_pca_right(rows, labels)} of 16",
        ),
    ]


def unused_row_figures(subject: Subject) -> list[Figure]:
    """Measure what the rows get that training never saw, and whether they differ."""
    prompts = [PROMPT, *STORIES, *PUBLISHED_QUESTIONS, "日本の首都は", "import os"]
    weight = subject.model.get_input_embeddings().weight
    logits = subject.continuations(prompts, 40, keep_logits=True).logits
    mean = weight.mean(0)
    strange = torch.nn.functional.cosine_similarity(weight, mean[None], dim=-1) > 0.8
    mass = logits.softmax(-1)[..., strange].sum(-1).max()
    sample = torch.nn.functional.normalize(weight[strange][::97], dim=-1)
    alike = (sample @ sample.T - 2 * torch.eye(len(sample))).max()
    return [
        Figure("probability of all unused rows together, most", f"{mass:.1e}"),
        Figure("cosine of two unused rows, most", f"{alike:.3f}"),
    ]


def _pca_right(rows: NDArray[np.float64], labels: NDArray[np.int64]) -> int:
    centred = rows - rows.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    flat = (centred @ axes[:2].T)[:16]
    centres = np.stack([flat[labels == label].mean(axis=0) for label in range(len(GROUPS))])
    distances = np.linalg.norm(flat[:, None] - centres[None], axis=-1)
    return int((distances.argmin(axis=1) == labels).sum())
