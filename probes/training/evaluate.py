"""The figures of the embedded model's card, measured on its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probes.training.decoding import (
    collapse_figures,
    country_figures,
    next_token_figures,
    story_figures,
)
from probes.training.embedding import group_figures, unused_row_figures
from probes.training.knowledge import question_figures
from probes.training.mechanism import nf4_figures, recall_figures, sensitivity_figures
from probes.training.subject import Figure, Subject

if TYPE_CHECKING:
    from pathlib import Path


@torch.inference_mode()
def evaluate(folder: Path) -> list[Figure]:
    """Measure every figure of the table.

    Args:
        folder: A model folder with its tokenizer.

    Returns:
        The lines of the table, in order; the same each time on the same machine.
    """
    subject = Subject(folder)
    return [
        *next_token_figures(subject),
        *country_figures(subject),
        *question_figures(subject),
        *collapse_figures(subject),
        *story_figures(subject),
        *group_figures(subject.model.get_input_embeddings().weight, subject.tokenizer),
        *unused_row_figures(subject),
        *recall_figures(subject),
        *sensitivity_figures(subject),
        *nf4_figures(subject, folder),
    ]
