"""Greedy texts of an engine, with ids and log-probabilities as far as it tells them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from probes.engines.session_cache import once_per_session
from probes.measure.engine_prompts import find_ids, takes_ids, word_prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from probes.engines.base import Generation

TOP = 20
"""Most likely tokens that are listed at each step; vLLM lists no more."""


@once_per_session
def make_greedy(
    engine: Any, reference: Any, prompts: Sequence[str], length: int
) -> list[Generation]:
    """Return an engine's greedy texts, all prompts at once, once a session.

    >>> model = load("embedded")
    >>> [text] = make_greedy(model, model, ["The capital of Japan is"], 2)
    >>> text.text, len(text.top_logprobs[0])
    ('Tokyo.', 2)
    """
    lists = {"top_logprobs": TOP} if "logprobs" in engine.capabilities else {}
    made = engine.generate_batch(
        word_prompts(engine, reference, prompts), max_new_tokens=length, do_sample=False, **lists
    )
    return add_ids(engine, reference, prompts, made)


def compare_prompt_lengths(engine: Any, reference: Any, prompts: Sequence[str], length: int) -> str:
    """Say how many tokens a server counts in a prompt where the reference has another number.

    Empty if all have the same, or the server does not count them.
    """
    for prompt, text in zip(prompts, make_greedy(engine, reference, prompts, length), strict=True):
        if text.prompt_tokens not in (None, len(text.prompt_ids)):
            return (
                f"the server counts {text.prompt_tokens} tokens in the prompt {prompt!r}, the "
                f"reference {len(text.prompt_ids)}: another system prompt, chat template or BOS"
            )
    return ""


def add_ids(
    engine: Any, reference: Any, prompts: Sequence[str], made: Sequence[Generation]
) -> list[Generation]:
    """Encode greedy texts of an engine that tells no ids."""
    if takes_ids(engine):
        return list(made)
    found = []
    for prompt, answer in zip(prompts, made, strict=True):
        text = find_ids(engine, reference, prompt, answer)
        if text.ids[0] and text.ids[0][-1] in reference.eos_token_ids:
            law = logits_along(reference, text.prompt_ids, text.ids[0])
            text = replace(text, ids=[choose_end(reference, text.ids[0], law)])
        found.append(text)
    return found


def choose_end(reference: Any, ids: Sequence[int], logits: torch.Tensor) -> list[int]:
    """Return a text's ids with the most likely end, as no server says which of several it was.

    `logits` are the reference's along them: (tokens, vocabulary).
    """
    ends = reference.eos_token_ids
    if len(ends) < 2 or not ids or ids[-1] not in ends:
        return list(ids)
    return [*ids[:-1], max(ends, key=lambda end: float(logits[-1, end]))]


def logits_along(reference: Any, prompt_ids: Sequence[int], ids: Sequence[int]) -> torch.Tensor:
    """Return the reference's logits before each of some tokens after a prompt."""
    whole: torch.Tensor = reference.logits_batch([[*prompt_ids, *ids[:-1]]])[0]
    return whole[len(prompt_ids) - 1 :]
