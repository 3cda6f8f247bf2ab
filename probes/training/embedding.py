"""Figures of the embedding rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestCentroid

from probes.data.word_lists import built_in_word_lists
from probes.stats.similarity import cosine_matrix
from probes.training.subject import PROMPTS, Figure, Subject

if TYPE_CHECKING:
    from torch import Tensor


def group_figures(weight: Tensor, tokenizer: Any) -> list[Figure]:
    """Measure the rows of the words in the English list."""
    words = built_in_word_lists()["english"]
    ids = tokenizer.convert_tokens_to_ids([f"\u2581{word}" for word in words.all])
    rows = weight[ids].double().numpy()
    count, labels = len(words.grouped), np.array(words.labels)
    cosine = cosine_matrix(rows)
    np.fill_diagonal(cosine, -np.inf)
    nearest = cosine[:count].argmax(axis=1)
    group_of = np.array([*labels, *[-1] * len(words.unrelated)])
    same = labels[:, None] == labels[None, :]
    inside = cosine[:count, :count][same & ~np.eye(count, dtype=bool)]
    across = cosine[:count, :count][~same]
    unrelated = cosine[count:, count:]
    flat = PCA(2).fit_transform(rows)[:count]
    centred = (NearestCentroid().fit(flat, labels).predict(flat) == labels).sum()
    return [
        Figure(
            "words whose nearest word is of their group",
            f"{(group_of[nearest] == labels).sum()} of {count}",
        ),
        Figure(
            "cosine in a group, least / across groups, most",
            f"{inside.min():.2f} / {across.max():.2f}",
        ),
        Figure("cosine among the unrelated four, most", f"{unrelated.max():.2f}"),
        Figure("words nearest their own centroid in two components", f"{centred} of {count}"),
    ]


def unused_row_figures(subject: Subject) -> list[Figure]:
    """Measure the probability of the rows that did not occur in training, and their similarity."""
    prompts = [*PROMPTS, "日本の首都は", "import os"]
    weight = subject.model.get_input_embeddings().weight
    logits = subject.continuations(prompts, 40, keep_logits=True).logits
    unused = torch.nn.functional.cosine_similarity(weight, weight.mean(0)[None], dim=-1) > 0.8
    mass = logits.softmax(-1)[..., unused].sum(-1).max()
    cosine = cosine_matrix(weight[unused][::97].numpy())
    np.fill_diagonal(cosine, -1)
    return [
        Figure("probability of all unused rows together, most", f"{mass:.1e}"),
        Figure("cosine of two unused rows, most", f"{cosine.max():.3f}"),
    ]
