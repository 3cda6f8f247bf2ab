"""The texts that the figures of the embedded model are measured on, and the form of a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from probes.data.questions import PUBLISHED, built_in_questions
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, STORIES
from probes.measure.greedy import step_logits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probes.engines.base import Generation
    from probes.engines.transformers.engine import TransformersEngine
    from probes.schema.sampling import Sampling

PUBLISHED_QUESTIONS = tuple(PUBLISHED.format(each.text) for each in built_in_questions()[:3])
PROMPTS = (CAPITAL_OF_JAPAN, *STORIES, *PUBLISHED_QUESTIONS)

SEED = 0


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: str


def continue_texts(
    model: TransformersEngine,
    prompts: Sequence[str],
    length: int,
    *,
    bos: bool = True,
    keep_logits: bool = False,
    sampling: Sampling | None = None,
) -> list[Generation]:
    """Continue prompts by `length` tokens, greedily or sampled from `SEED`; no text ends before."""
    greedy: dict[str, Any] = {"do_sample": False} if sampling is None else {}
    return model.generate_batch(
        [model.encode(prompt, add_special_tokens=bos) for prompt in prompts],
        sampling=sampling,
        seed=SEED,
        max_new_tokens=length,
        min_new_tokens=length,
        output_logits=keep_logits,
        **greedy,
    )


def least_margin(texts: Iterable[Generation]) -> str:
    """Format the smallest distance of the two largest logits, over all tokens of greedy texts."""
    best = torch.cat([step_logits(text) for text in texts]).topk(2, dim=-1).values
    return f"{float((best[:, 0] - best[:, 1]).min()):.2f}"


def join_values(values: Sequence[float]) -> str:
    """Format several values for one cell."""
    return " · ".join(f"{value:.2f}" for value in values)
