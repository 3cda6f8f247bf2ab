"""Outputs worth recording: greedy texts with their largest logits, and numbers with tolerances."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING

import torch

from probes.measure import determinism, embeddings
from probes.measure.decoding import step_logits
from probes.schema.recorded_output import RecordedNumber, RecordedText
from probes.stats import sampling_reference as filters
from probes.stats.near_tie import Finding, OutputStatus, TextComparison, judge_text
from probes.stats.rounding import logit_tolerance
from probes.stats.similarity import cosine_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probes.data.published import PublishedText
    from probes.engines.base import Generation, Prompt
    from probes.engines.transformers.engine import TransformersEngine as Model

TOP = 5
"""How many of a step's largest logits are recorded."""

WORDS = (("king", "queen"), ("king", "dog"), ("dog", "cat"), ("man", "woman"))
"""Pairs of words whose embedding rows are compared."""

DECIMALS = 6
"""Decimal places of what is recorded."""


# --- texts ---------------------------------------------------------------------------------------


def recorded_text(generation: Generation) -> RecordedText:
    """A greedy text as it is recorded.

    Args:
        generation: made with `output_logits`.

    >>> from probes import load
    >>> from probes.measure import decoding
    >>> text = decoding.greedy(load("embedded"), ["The capital of Japan is"], 20)[0]
    >>> len(recorded_text(text).top_logits)
    20
    """
    logits = step_logits(generation)
    top = logits.topk(min(TOP, logits.shape[-1]), dim=-1)
    return RecordedText(
        prompt_ids=tuple(generation.prompt_ids),
        ids=tuple(generation.ids[0]),
        text=generation.text,
        top_ids=tuple(map(tuple, top.indices.tolist())),
        top_logits=tuple(tuple(round(x, DECIMALS) for x in row) for row in top.values.tolist()),
    )


def compared(
    model: Model, prompt: str, recorded: RecordedText, generation: Generation
) -> TextComparison:
    """A greedy text beside the recorded one.

    Args:
        model: decodes the tokens.
        prompt: what was continued, for the reader.
        recorded: the recorded text.
        generation: the present text, made with `output_logits`.

    >>> from probes import load
    >>> from probes.measure import decoding
    >>> model = load("embedded")
    >>> text = decoding.greedy(model, ["The capital of Japan is"], 20)[0]
    >>> compared(model, "Japan", recorded_text(text), text).step is None
    True
    """
    texts = (recorded.text, generation.text)
    if tuple(generation.prompt_ids) != recorded.prompt_ids:
        return TextComparison(prompt, texts, same_prompt=False)
    ids, logits = generation.ids[0], step_logits(generation)
    step = determinism.common_length(recorded.ids, ids)
    drift = _drift(recorded, logits[: step + 1])
    if step == len(recorded.ids) == len(ids):
        return TextComparison(prompt, texts, drift=drift)
    there, here = recorded.ids[step : step + 1], ids[step : step + 1]
    return TextComparison(
        prompt,
        texts,
        drift=drift,
        step=step,
        tokens=(model.decode(there), model.decode(here)),
        margin=_margin(logits[step], there[0], here[0]) if there and here else math.inf,
    )


def _drift(recorded: RecordedText, logits: torch.Tensor) -> float:
    """Largest change of a recorded logit; infinite where one is not a number, or has no token."""
    rows = zip(recorded.top_ids, recorded.top_logits, logits, strict=False)
    moved = [
        abs(float(row[i]) - logit) if i < len(row) else math.inf
        for ids, values, row in rows
        for i, logit in zip(ids, values, strict=True)
    ]
    return max((math.inf if math.isnan(x) else x for x in moved), default=0.0)


def _margin(logits: torch.Tensor, recorded: int, now: int) -> float:
    return float((logits[now] - logits[recorded]).abs()) if recorded < len(logits) else math.inf


def noise(model: Model, prompts: Sequence[Prompt], length: int) -> float:
    """How far logits move here when nothing that matters changes.

    The same greedy texts made again, each in a batch of its own, beside others, and under another
    attention implementation; what claims measured of this before is not measured again.

    Returns:
        The largest change of a logit among each step's five likeliest tokens.

    >>> from probes import load
    >>> noise(load("embedded"), ["The capital of Japan is"], 3) < 0.01
    True
    """
    variations = chain(
        determinism.repeated(model, prompts, length, runs=2),
        determinism.alone(model, prompts, length),
        determinism.doubled(model, prompts, length),
        determinism.attention(model, prompts, length),
    )
    return max(variation.noise for variation in variations)


def beside_published(model: Model, published: PublishedText, generation: Generation) -> Finding:
    """A greedy text beside a published one, of which no logits are known.

    The same words hold: blank lines can get lost in print. Else the first token that differs is
    judged by its margin.

    Args:
        model: the target.
        published: the published text.
        generation: the present text after the same prompt, made with `output_logits`.

    >>> from probes import load
    >>> from probes.data.published import find_text
    >>> model = load("embedded")
    >>> short = model.generate(find_text("default-text").prompt, output_logits=True)
    >>> beside_published(model, find_text("default-text"), short).outcome.value
    'changed'
    """
    if generation.text.split() == published.text.split():
        return Finding(published.prompt, OutputStatus.SAME, 0.0, published.text, generation.text)
    prompt_ids = model.encode(published.prompt, add_special_tokens=published.special_tokens)
    whole = f"{published.prompt} {published.text}"
    ids = model.encode(whole, add_special_tokens=published.special_tokens)[len(prompt_ids) :]
    recorded = RecordedText(
        prompt_ids=tuple(prompt_ids),
        ids=tuple(ids[: published.tokens]),
        text=published.text,
    )
    return judge_text(
        compared(model, published.prompt, recorded, generation),
        tolerance=logit_tolerance([step_logits(generation)], model.facts().dtype),
        noise=lambda: noise(model, [prompt_ids], published.tokens),
    )


# --- numbers -------------------------------------------------------------------------------------


def recorded_numbers(model: Model, texts: Mapping[str, Generation]) -> dict[str, RecordedNumber]:
    """Numbers of a model, each with its tolerance: no forward pass is made for them.

    Args:
        model: the target.
        texts: greedy texts by prompt, made with `output_logits`.

    Returns:
        For each prompt the largest probability and the entropy (in nats) of the next token, and
        cosines of words' embedding rows.

    >>> from probes import load
    >>> from probes.measure import decoding
    >>> model = load("embedded")
    >>> text = decoding.greedy(model, ["The capital of Japan is"], 20)[0]
    >>> recorded_numbers(model, {"Japan": text})["entropy after 'Japan'"].value < 2
    True
    """
    move = logit_tolerance(map(step_logits, texts.values()), model.facts().dtype)
    found = {}
    for prompt, text in texts.items():
        step = filters.log_probabilities(step_logits(text))[0]
        found[f"largest probability after {prompt!r}"] = _probability(step, move)
        found[f"entropy after {prompt!r}"] = _entropy(step, move)
    stored = "rows are stored weights: only the last decimal may differ"
    for pair in WORDS:
        cosine = cosine_matrix(embeddings.word_vectors(model, pair))[0, 1]
        found[f"cosine of {pair[0]!r} and {pair[1]!r}"] = _number(float(cosine), 0.0, stored)
    return found


def _probability(log_probabilities: torch.Tensor, move: float) -> RecordedNumber:
    """The largest probability; its odds change by a factor of at most e^(2 x move)."""
    p = float(log_probabilities.max().exp())
    factor = math.exp(min(2 * move, 50.0))
    up, down = p * factor / (p * factor + 1 - p), p / (p + (1 - p) * factor)
    origin = f"rounding moves each logit by up to {move:.2g}, so the log-odds by twice that"
    return _number(p, max(up - p, p - down), origin)


def _entropy(log_probabilities: torch.Tensor, move: float) -> RecordedNumber:
    """The entropy H, whose slope along a logit is -p (log p + H)."""
    entropy = filters.entropy(log_probabilities)
    slope = (log_probabilities.exp() * (log_probabilities + entropy).abs()).nansum()
    origin = f"rounding moves each logit by up to {move:.2g}: twice its effect to first order"
    return _number(float(entropy), 2 * move * float(slope), origin)


def _number(value: float, tolerance: float, origin: str) -> RecordedNumber:
    least = 2 * 10.0**-DECIMALS  # two roundings of the same number can be a whole unit apart
    return RecordedNumber(
        value=round(value, DECIMALS),
        tolerance=float(f"{max(least, tolerance):.3g}"),
        origin=origin,
    )
