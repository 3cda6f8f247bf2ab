"""Generate greedy and beam-search texts, and measure how likely and how stable they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from probes.engines.session_cache import once_per_session
from probes.schema.evidence.texts import BeamSearch
from probes.schema.sampling import UNPENALIZED, Sampling
from probes.stats.rounding import largest_distance_change
from probes.stats.sampling_reference import largest_top_k, log_probabilities, top_logits
from probes.stats.text_probability import path_log_probability

if TYPE_CHECKING:
    from probes.engines.base import Generation, LogitsEngine, Prompt

SHARED_LENGTH = 120
"""New tokens of the greedy texts that claims share: a batch is generated once, and truncated."""


def generate_greedy(
    model: LogitsEngine, prompts: Sequence[Prompt], length: int
) -> list[Generation]:
    """Generate greedy texts with the raw logits of each step in one batch, once a session.

    Where longer ones of the same prompts were generated, these are truncated.

    >>> from probes import load
    >>> generate_greedy(load("embedded"), ["The capital of Japan is"], 20)[0].logits.shape
    torch.Size([1, 20, 32000])
    """
    known = _known_texts(model, prompts)
    if length not in known:
        longer = min((each for each in known if each > length), default=None)
        if longer is not None:
            known[length] = [truncate(text, length, model) for text in known[longer]]
        else:
            known[length] = model.generate_batch(
                prompts, max_new_tokens=length, do_sample=False, output_logits=True, **UNPENALIZED
            )
    return known[length]


@once_per_session
def _known_texts(
    model: LogitsEngine,  # noqa: ARG001 - both name what is kept
    prompts: Sequence[Prompt],  # noqa: ARG001
) -> dict[int, list[Generation]]:
    """Return the session's greedy texts of some prompts, by their length: at first none."""
    return {}


def truncate(generation: Generation, length: int, model: LogitsEngine) -> Generation:
    """Truncate a greedy text to what a shorter run gives.

    >>> from probes import load
    >>> model = load("embedded")
    >>> truncate(generate_greedy(model, ["The capital of Japan is"], 20)[0], 2, model).text
    'Tokyo.'
    """
    ids = [row[:length] for row in generation.ids]
    return replace(
        generation,
        ids=ids,
        texts=[model.decode(row, skip_special_tokens=True) for row in ids],
        logits=None if generation.logits is None else generation.logits[:, :length],
    )


def step_logits(generation: Generation) -> torch.Tensor:
    """Return the raw logits along a generation's first text: (tokens, vocabulary), float32."""
    if generation.logits is None:
        raise ValueError("this generation was made without output_logits")
    return generation.logits[0, : len(generation.ids[0])]


def count_steps_without_tie(generation: Generation) -> int:
    """Count the tokens of a greedy text before two first tie as the most likely."""
    best = step_logits(generation).topk(2, dim=-1).values
    ties = (best[:, 0] == best[:, 1]).nonzero()
    return int(ties[0]) if len(ties) else len(best)


def probabilities_of_greedy(generation: Generation, settings: Sequence[Sampling]) -> list[float]:
    """Return the exact probability that sampling reproduces a greedy text, at each setting.

    >>> from probes import load
    >>> text = generate_greedy(load("embedded"), ["The capital of Japan is"], 20)[0]
    >>> probabilities_of_greedy(text, [Sampling(temperature=0.01, top_k=1)])
    [1.0]
    """
    logits, tokens = top_logits(step_logits(generation), largest_top_k(settings))
    places = tokens == torch.tensor(generation.ids[0]).unsqueeze(-1)
    if not bool(places.any(dim=-1).all()):
        return [0.0] * len(settings)  # no setting keeps all of its tokens
    path = places.int().argmax(dim=-1).tolist()
    return [
        math.exp(path_log_probability(log_probabilities(logits, each), path)) for each in settings
    ]


def log_likelihood(model: LogitsEngine, prompt: Prompt, ids: Sequence[int]) -> float:
    """Return the log-probability of a continuation under the model itself, in nats.

    >>> from probes import load
    >>> log_likelihood(load("embedded"), "The capital of Japan is", [11790]) < 0
    True
    """
    return path_log_probability(log_probabilities(_logits_along(model, prompt, ids)), ids)


@once_per_session
def search_beams(model: LogitsEngine, prompt: Prompt, beams: int, length: int) -> BeamSearch:
    """Search for a likely text of exactly `length` tokens, once a session.

    >>> from probes import load
    >>> search_beams(load("embedded"), "The capital of Japan is", beams=1, length=4).rows
    4
    """
    before = model.cost.rows
    generation = model.generate(
        prompt,
        num_beams=beams,
        do_sample=False,
        max_new_tokens=length,
        min_new_tokens=length,
        **UNPENALIZED,
    )
    rows = model.cost.rows - before
    return BeamSearch(
        beams=beams,
        text=generation.text,
        log_probability=log_likelihood(model, generation.prompt_ids, generation.ids[0]),
        rows=rows,
    )


@dataclass(frozen=True)
class RecomputedText:
    """How a greedy text's logits change when they are computed in one forward pass."""

    largest_change: float  # of the distance of a likely logit to the largest of its step
    smallest_margin: float  # distance between a step's two largest logits
    flips: int  # steps whose most likely token changes
    widest_flip: float  # largest distance, before, of the two tokens of a flip; 0 without one
    near_ties: int  # steps whose margin is within the largest change


def recompute_text(model: LogitsEngine, generation: Generation) -> RecomputedText:
    """Compute a greedy text's logits in one pass over prompt and text.

    >>> from probes import load
    >>> text = generate_greedy(load("embedded"), ["The capital of Japan is"], 20)[0]
    >>> recompute_text(load("embedded"), text).flips
    0
    """
    steps = step_logits(generation)
    again = _logits_along(model, generation.prompt_ids, generation.ids[0])
    change = largest_distance_change(steps, again)
    best = steps.topk(2, dim=-1).values
    margins = best[:, 0] - best[:, 1]
    # How far behind each token was that leads now.
    flips = best[:, 0] - steps.gather(1, again.argmax(-1, keepdim=True)).squeeze(1)
    return RecomputedText(
        largest_change=change,
        smallest_margin=float(margins.min()),
        flips=int((steps.argmax(-1) != again.argmax(-1)).sum()),
        widest_flip=float(flips.max()),
        near_ties=int((margins <= change).sum()),
    )


def _logits_along(model: LogitsEngine, prompt: Prompt, ids: Sequence[int]) -> torch.Tensor:
    """Return the logits that each token of a continuation is chosen from: (ids, vocabulary)."""
    first = model.logits(prompt)[-1:]
    if len(ids) < 2:
        return first
    return torch.cat([first, model.logits_after(prompt, [ids[:-1]])[0]])
