"""Make the outputs that are recorded: greedy texts with their largest logits, and numbers."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING

from probes.measure import determinism, embeddings
from probes.measure.greedy import step_logits
from probes.measure.greedy_differences import count_common_start
from probes.schema.recorded_output import RecordedNumber, RecordedText
from probes.stats import sampling_reference as reference
from probes.stats.near_tie import Finding, OutputStatus, TextComparison, judge_text
from probes.stats.rounding import logit_tolerance
from probes.stats.similarity import cosine_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from probes.data.published import PublishedText
    from probes.engines.base import Generation, Prompt
    from probes.engines.transformers.engine import TransformersEngine

TOP = 5  # how many of a step's largest logits are recorded

WORDS = (("king", "queen"), ("king", "dog"), ("dog", "cat"), ("man", "woman"))
"""Pairs of words whose embedding rows are compared."""

DECIMALS = 6  # decimal places of what is recorded


# --- texts ---------------------------------------------------------------------------------------


def record_text(generation: Generation, top: int = TOP) -> RecordedText:
    """Return a greedy text, made with `output_logits`, in the form that is recorded."""
    logits = step_logits(generation)
    largest = logits.topk(min(top, logits.shape[-1]), dim=-1)
    return RecordedText(
        prompt_ids=tuple(generation.prompt_ids),
        ids=tuple(generation.ids[0]),
        text=generation.text,
        top_ids=tuple(map(tuple, largest.indices.tolist())),
        top_logits=tuple(tuple(round(x, DECIMALS) for x in row) for row in largest.values.tolist()),
    )


def compare_text(
    model: TransformersEngine, prompt: str, recorded: RecordedText, generation: Generation
) -> TextComparison:
    """Compare a greedy text, made with `output_logits`, with the recorded one.

    >>> from probes.measure.greedy import generate_greedy
    >>> model = load("embedded")
    >>> text = generate_greedy(model, ["The capital of Japan is"], 20)[0]
    >>> compare_text(model, "Japan", record_text(text), text).step is None
    True
    """
    texts = (recorded.text, generation.text)
    if tuple(generation.prompt_ids) != recorded.prompt_ids:
        return TextComparison(prompt, texts, same_prompt=False)
    ids, logits = generation.ids[0], step_logits(generation)
    step = count_common_start(recorded.ids, ids)
    drift = _measure_drift(recorded, logits[: step + 1])
    if step == len(recorded.ids) == len(ids):
        return TextComparison(prompt, texts, drift=drift)
    there, here = recorded.ids[step : step + 1], ids[step : step + 1]
    margin = math.inf
    if there and here and there[0] < logits.shape[-1]:
        margin = float((logits[step, here[0]] - logits[step, there[0]]).abs())
    tokens = (model.decode(there), model.decode(here))
    return TextComparison(prompt, texts, drift=drift, step=step, tokens=tokens, margin=margin)


def _measure_drift(recorded: RecordedText, logits: torch.Tensor) -> float:
    """Return the largest change of a recorded logit; infinite where one is missing or NaN."""
    rows = zip(recorded.top_ids, recorded.top_logits, logits, strict=False)
    changes = [
        abs(float(row[i]) - logit) if i < len(row) else math.inf
        for ids, values, row in rows
        for i, logit in zip(ids, values, strict=True)
    ]
    return max((math.inf if math.isnan(x) else x for x in changes), default=0.0)


def measure_noise(model: TransformersEngine, prompts: Sequence[Prompt], length: int) -> float:
    """Measure how far logits move between computations that should agree.

    The same greedy texts are generated alone, in a larger batch, and by another attention
    implementation, once a session. The noise is the largest change of a logit among each step's
    five most likely tokens.
    """
    variations = chain(
        determinism.repeat_batch(model, prompts, length, runs=2),
        determinism.vary_to_batches_of_one(model, prompts, length),
        determinism.vary_to_larger_batch(model, prompts, length),
        determinism.vary_attention(model, prompts, length),
    )
    return max(variation.noise for variation in variations)


def judge_published_text(
    model: TransformersEngine, published: PublishedText, generation: Generation
) -> Finding:
    """Judge a greedy text, made with `output_logits`, by a published one without logits.

    Equal words hold, as print can lose blank lines. Otherwise the first different token is judged
    by its margin.

    >>> from probes.data.published import find_text
    >>> model, published = load("embedded"), find_text("default-text")
    >>> text = model.generate(published.prompt, output_logits=True)
    >>> judge_published_text(model, published, text).outcome.value
    'changed'
    """
    if generation.text.split() == published.text.split():
        return Finding(published.prompt, OutputStatus.SAME, 0.0, published.text, generation.text)
    special = published.special_tokens
    prompt_ids = model.encode(published.prompt, add_special_tokens=special)
    whole = model.encode(f"{published.prompt} {published.text}", add_special_tokens=special)
    recorded = RecordedText(
        prompt_ids=tuple(prompt_ids),
        ids=tuple(whole[len(prompt_ids) :][: published.tokens]),
        text=published.text,
    )
    return judge_text(
        compare_text(model, published.prompt, recorded, generation),
        tolerance=logit_tolerance([step_logits(generation)], model.facts().dtype),
        noise=lambda: measure_noise(model, [prompt_ids], published.tokens),
    )


# --- numbers -------------------------------------------------------------------------------------


def record_numbers(
    model: TransformersEngine, texts: Mapping[str, Generation]
) -> dict[str, RecordedNumber]:
    """Return numbers of a model, each with its tolerance, from greedy texts with logits by prompt.

    They are the largest probability and the entropy (in nats) of each prompt's next token, and
    cosines of words' embedding rows: no forward pass is made.
    """
    move = logit_tolerance(map(step_logits, texts.values()), model.facts().dtype)
    found = {}
    for prompt, text in texts.items():
        step = reference.log_probabilities(step_logits(text))[0]
        found[f"largest probability after {prompt!r}"] = _record_probability(step, move)
        found[f"entropy after {prompt!r}"] = _record_entropy(step, move)
    origin = "rows are stored weights: only the last decimal may differ"
    for pair in WORDS:
        cosine = float(cosine_matrix(embeddings.word_vectors(model, pair))[0, 1])
        found[f"cosine of {pair[0]!r} and {pair[1]!r}"] = _record_number(cosine, 0.0, origin)
    return found


def _record_probability(log_probabilities: torch.Tensor, move: float) -> RecordedNumber:
    """Record the largest probability; its odds change by a factor of at most e^(2 x move)."""
    p = float(log_probabilities.max().exp())
    factor = math.exp(min(2 * move, 50.0))
    up, down = p * factor / (p * factor + 1 - p), p / (p + (1 - p) * factor)
    origin = f"rounding moves each logit by up to {move:.2g}, so the log-odds by twice that"
    return _record_number(p, max(up - p, p - down), origin)


def _record_entropy(log_probabilities: torch.Tensor, move: float) -> RecordedNumber:
    """Record the entropy H, whose slope along a logit is -p (log p + H)."""
    entropy = reference.entropy(log_probabilities)
    slope = (log_probabilities.exp() * (log_probabilities + entropy).abs()).nansum()
    origin = f"rounding moves each logit by up to {move:.2g}: twice its effect to first order"
    return _record_number(float(entropy), 2 * move * float(slope), origin)


def _record_number(value: float, tolerance: float, origin: str) -> RecordedNumber:
    least = 2 * 10.0**-DECIMALS  # two roundings of the same number can be a whole unit apart
    return RecordedNumber(
        value=round(value, DECIMALS), tolerance=float(f"{max(least, tolerance):.3g}"), origin=origin
    )
