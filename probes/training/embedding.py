"""Figures of the embedding rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.neighbors import NearestCentroid
from torch.nn import functional

from probes.data.word_lists import built_in_word_lists
from probes.measure.embeddings import word_vectors
from probes.measure.greedy import step_logits
from probes.stats.projection import project_2d
from probes.stats.similarity import cosine_matrix, same_group, upper_triangle
from probes.training.subject import PROMPTS, Figure, continue_texts

if TYPE_CHECKING:
    from probes.engines.transformers.engine import TransformersEngine


def group_figures(model: TransformersEngine) -> list[Figure]:
    """Measure the rows of the words in the English list."""
    words = built_in_word_lists()["english"]
    rows = word_vectors(model, words.all)
    count, labels = len(words.grouped), np.array(words.labels)
    cosine = cosine_matrix(rows)
    nearest = np.where(np.eye(len(rows), dtype=bool), -1.0, cosine)[:count].argmax(axis=1)
    group_of = np.array([*labels, *[-1] * len(words.unrelated)])
    grouped = upper_triangle(cosine[:count, :count])
    same = upper_triangle(same_group(words.labels))
    flat = project_2d(rows).coordinates[:count]
    centred = (NearestCentroid().fit(flat, labels).predict(flat) == labels).sum()
    return [
        Figure(
            "words whose nearest word is of their group",
            f"{(group_of[nearest] == labels).sum()} of {count}",
        ),
        Figure(
            "cosine in a group, least / across groups, most",
            f"{grouped[same].min():.2f} / {grouped[~same].max():.2f}",
        ),
        Figure(
            "cosine among the unrelated four, most",
            f"{upper_triangle(cosine[count:, count:]).max():.2f}",
        ),
        Figure("words nearest their own centroid in two components", f"{centred} of {count}"),
    ]


def unused_row_figures(model: TransformersEngine) -> list[Figure]:
    """Measure the probability of the rows that did not occur in training, and their similarity."""
    weight = model.embedding()
    unused = functional.cosine_similarity(weight, weight.mean(0)[None], dim=-1) > 0.8
    texts = continue_texts(model, [*PROMPTS, "日本の首都は", "import os"], 40, keep_logits=True)
    logits = torch.cat([step_logits(text) for text in texts])
    mass = logits.softmax(-1)[:, unused].sum(-1).max()
    cosine = upper_triangle(cosine_matrix(weight[unused][::97].numpy())).max()
    return [
        Figure("probability of all unused rows together, most", f"{mass:.1e}"),
        Figure("cosine of two unused rows, most", f"{cosine:.3f}"),
    ]
