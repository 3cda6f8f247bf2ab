"""Outputs worth recording: greedy texts with their top logits, and numbers with tolerances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import torch

from probes import determinism, exact, filters
from probes.decoding import step_logits
from probes.recording import TOP, Present, RecordedNumber, RecordedText, common_length

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probes.model import Generation, Model, Prompt

WORDS = (("king", "queen"), ("king", "dog"), ("dog", "cat"), ("man", "woman"))
"""Pairs of words whose embedding rows are compared."""

DECIMALS = 6
"""Decimal places of what is recorded."""


def recorded_text(generation: Generation) -> RecordedText:
    """A greedy text as it is recorded.

    Args:
        generation: made with `output_logits`.

    >>> from probes import decoding, load
    >>> text = decoding.greedy(load("embedded"), ["The capital of Japan is"], 20)[0]
    >>> len(recorded_text(text).top_logits)
    20
    """
    top = step_logits(generation).topk(TOP, dim=-1)
    return RecordedText(
        prompt_ids=tuple(generation.prompt_ids),
        ids=tuple(generation.ids[0]),
        text=generation.text,
        top_ids=tuple(map(tuple, top.indices.tolist())),
        top_logits=tuple(tuple(round(x, DECIMALS) for x in row) for row in top.values.tolist()),
    )


def present(generation: Generation, recorded: RecordedText | None) -> Present:
    """A greedy text beside a recorded one: its logits at the tokens recorded.

    A token that the model no longer has counts as infinitely unlikely.

    >>> from probes import decoding, load
    >>> text = decoding.greedy(load("embedded"), ["The capital of Japan is"], 20)[0]
    >>> len(present(text, recorded_text(text)).logits)
    20
    """
    ids = generation.ids[0]
    same = 0 if recorded is None else common_length(recorded.ids, ids)
    rows = step_logits(generation)[:same].tolist() if same else []
    logits = [
        [row[i] if 0 <= i < len(row) else -math.inf for i in wanted]
        for row, wanted in zip(rows, recorded.top_ids[:same] if recorded else (), strict=True)
    ]
    return Present(generation.prompt_ids, ids, generation.text, logits)


def noise(model: Model, prompts: Sequence[Prompt], length: int) -> float:
    """How far logits move here when nothing that matters changes.

    The same greedy texts made again, each in a batch of its own, and under another attention
    implementation; what claims measured of this before is not measured again.

    Returns:
        The largest change of a logit among each step's five likeliest tokens.

    >>> from probes import load
    >>> noise(load("embedded"), ["The capital of Japan is"], 3) < 0.01
    True
    """
    variations = chain(
        determinism.repeated(model, prompts, length, runs=2),
        determinism.alone(model, prompts, length),
        determinism.attention(model, prompts, length),
    )
    return max(variation.noise for variation in variations)


@dataclass(frozen=True)
class _Rounding:
    """How far a logit may move, and that in words."""

    logit: float

    @property
    def words(self) -> str:
        return f"rounding may move each logit by {self.logit:.2g}"


def recorded_numbers(model: Model, texts: Mapping[str, Generation]) -> dict[str, RecordedNumber]:
    """Numbers of a model, each with its tolerance: no forward pass is made for them.

    Args:
        model: the target.
        texts: greedy texts by prompt, made with `output_logits`.

    Returns:
        For each prompt the largest probability and the entropy (in nats) of the next token, and
        the log-probability (in nats) of the greedy text; cosines of words' embedding rows.

    >>> from probes import decoding, load
    >>> model = load("embedded")
    >>> text = decoding.greedy(model, ["The capital of Japan is"], 20)[0]
    >>> recorded_numbers(model, {"Japan": text})["entropy after 'Japan'"].value < 2
    True
    """
    moves = _Rounding(determinism.tolerance([*texts.values()], model.network.dtype))
    found = {}
    for prompt, text in texts.items():
        steps = filters.log_probabilities(step_logits(text))
        found[f"largest probability after {prompt!r}"] = _probability(steps[0], moves)
        found[f"entropy after {prompt!r}"] = _entropy(steps[0], moves)
        found[f"log-probability of the greedy text after {prompt!r}"] = _likelihood(
            steps, text.ids[0], moves
        )
    return found | {f"cosine of {a!r} and {b!r}": _cosine(model, a, b) for a, b in WORDS}


def _probability(log_probabilities: torch.Tensor, moves: _Rounding) -> RecordedNumber:
    """The largest probability; its odds change by a factor of at most e^(2 × move)."""
    p = float(log_probabilities.max().exp())
    factor = math.exp(min(2 * moves.logit, 50.0))
    up, down = p * factor / (p * factor + 1 - p), p / (p + (1 - p) * factor)
    return _number(p, max(up - p, p - down), f"{moves.words}, so the odds by twice that in nats")


def _entropy(log_probabilities: torch.Tensor, moves: _Rounding) -> RecordedNumber:
    """The entropy H, whose slope along a logit is -p (log p + H)."""
    entropy = filters.entropy(log_probabilities)
    slope = (log_probabilities.exp() * (log_probabilities + entropy).abs()).nansum()
    tolerance = 2 * moves.logit * float(slope)
    origin = f"{moves.words}: twice what that does to the entropy to first order"
    return _number(float(entropy), tolerance, origin)


def _likelihood(steps: torch.Tensor, ids: Sequence[int], moves: _Rounding) -> RecordedNumber:
    """The log-probability of a text; that of each token changes by at most 2 × move."""
    tolerance = 2 * moves.logit * len(ids)
    origin = f"{moves.words}, so the log-probability of each of {len(ids)} tokens by twice that"
    return _number(exact.path_log_probability(steps, ids), tolerance, origin)


def _cosine(model: Model, one: str, other: str) -> RecordedNumber:
    """Cosine of two words' vectors, each the mean of its pieces' rows, in float64."""
    first, second = (
        model.embedding(model.encode(word, special_tokens=False)).double().cpu().mean(dim=0)
        for word in (one, other)
    )
    cosine = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
    origin = "the rows are stored weights: only the last decimal place recorded may differ"
    return _number(cosine, 0.0, origin)


def _number(value: float, tolerance: float, origin: str) -> RecordedNumber:
    least = 2 * 10.0**-DECIMALS  # two roundings of the same number can be a whole unit apart
    return RecordedNumber(
        value=round(value, DECIMALS),
        tolerance=float(f"{max(tolerance, least):.3g}"),
        origin=origin,
    )
