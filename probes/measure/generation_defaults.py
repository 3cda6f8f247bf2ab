"""Observe `generate` as the library ships it: its defaults and its padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from probes.measure.greedy import step_logits

if TYPE_CHECKING:
    from probes.engines.base import Generation, Prompt
    from probes.engines.transformers.engine import TransformersEngine


@dataclass(frozen=True)
class DefaultGeneration:
    """What `generate()` did without arguments."""

    generation: Generation
    greedy_ids: list[int]  # the most likely token at each step of that text
    ended: bool  # whether it stopped at an end-of-sequence token

    @property
    def new_tokens(self) -> int:
        """Number of tokens added."""
        return len(self.generation.ids[0])


def generate_by_default(model: TransformersEngine, prompt: Prompt) -> DefaultGeneration:
    """Call `generate()` with a prompt and nothing else, and take the argmax of each step's logits.

    The logits are those it chose from: another pass rounds differently, and may flip near-ties.

    >>> from probes import load
    >>> generate_by_default(load("embedded"), "The capital of Japan is").new_tokens
    20
    """
    generation = model.generate(prompt, seed=0, output_logits=True)
    new = generation.ids[0]
    return DefaultGeneration(
        generation,
        greedy_ids=step_logits(generation).argmax(dim=1).tolist(),
        ended=bool(new) and new[-1] in model.eos_token_ids,
    )


def padding_ids(model: TransformersEngine) -> tuple[int | None, int | None]:
    """Return the ids of the pad and the first end-of-sequence token that `generate` is set to use.

    Raises UnknownIdError if the network's embedding has no row for one of them.

    >>> from probes import load
    >>> padding_ids(load("embedded"))
    (None, 2)
    """
    pad, ends = model.network.generation_config.pad_token_id, model.eos_token_ids
    model.check_ids([] if pad is None else [pad], "padding id")
    return pad, model.check_ids(ends, "end id")[0] if ends else None


def pad_after_end(model: TransformersEngine, prompt: Prompt) -> list[int]:
    """Return the ids that fill a row which ended before the others of its batch.

    The first of two rows must end at once and may not end again; the second continues for three
    tokens more. Raises LookupError if the model has no end-of-sequence token.

    >>> from probes import load
    >>> pad_after_end(load("embedded"), "The capital of Japan is")
    [2, 2, 2]
    """
    if not model.eos_token_ids:
        raise LookupError("the model has no end-of-sequence token")
    ids = model.encode_prompt(prompt)
    inputs = torch.tensor([ids, ids], device=model.device)
    end = model.eos_token_ids[0]

    def end_first_row_only(rows: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, model.eos_token_ids] = -torch.inf
        if rows.shape[1] == len(ids):
            scores[0] = -torch.inf
            scores[0, end] = 0.0
        return scores

    output = model.network.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        logits_processor=[end_first_row_only],
        max_new_tokens=4,
    )
    row: list[int] = output[0, len(ids) + 1 :].tolist()
    return row
