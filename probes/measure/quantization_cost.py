"""Measure what quantization changes: distributions over a text, answers, and stories' entropy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from probes.data.tokenizer_texts import STORIES
from probes.engines.session_cache import once_per_session
from probes.measure.engine_answers import logits_along
from probes.measure.knowledge import answer_greedily
from probes.measure.quantized_weights import count_bytes, own_quantization
from probes.measure.scored_windows import LISTED_EVERY, compare_listed, compare_windows
from probes.schema.evidence.quantization import AnswerFlips, QuantizationCost, StoryEntropy
from probes.schema.evidence.shape import Interval
from probes.schema.sampling import WIDE_HOT
from probes.stats import distribution_distance as distances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.base import LogitsEngine
    from probes.measure.asking import AskedQuestion
    from probes.measure.scored_windows import ScoredText
    from probes.stats.distribution_distance import Distances

RUNS, LENGTH = 3, 30
"""Stories sampled for each opening, and their tokens."""


def summarize_distances(
    texts: Sequence[ScoredText], found: list[list[Distances]], *, whole: bool
) -> dict[str, Any]:
    """Return the fields of a `QuantizationCost` that windows give.

    `whole` is whether whole distributions were compared, or listed tokens alone.
    """

    def values(name: str, power: int = 1) -> list[list[distances.Floats]]:
        return [[getattr(each, name) ** power for each in text] for text in found]

    divergence, squares = values("divergence"), values("probability_change", power=2)
    ratios, same = values("log_ratio"), values("same_top")
    root = distances.estimate_root(squares)
    errors = {
        "mean_divergence": distances.error_over_positions(divergence),
        "rms_change": _halve(distances.error_over_positions(squares), root),
        "same_top": distances.error_over_positions(same),
        "log_perplexity_ratio": distances.error_over_positions(ratios),
    }
    # The ratio is known where every token that follows is listed.
    are_known = not math.isnan(errors["log_perplexity_ratio"])
    return {
        "context": len(texts[0].windows[0]),
        "windows": sum(len(text.windows) for text in texts),
        "positions": sum(len(window) for text in divergence for window in text),
        "whole": whole,
        "mean_divergence": _not_negative(distances.estimate_mean(divergence)),
        "percentiles": _percentiles(divergence),
        "rms_change": root,
        "same_top": distances.estimate_share(same),
        "perplexity_ratio": distances.estimate_ratio(ratios) if are_known else None,
        "errors_over_positions": {k: v for k, v in errors.items() if not math.isnan(v)},
        "by_text": _by_text(texts, divergence),
    }


def _percentiles(divergence: distances.Windows) -> dict[str, Interval | None]:
    return {
        f"{percent:g}": distances.estimate_percentile(divergence, percent)
        for percent in distances.PERCENTILES
    }


def _by_text(texts: Sequence[ScoredText], values: distances.Windows) -> dict[str, float]:
    """Return the mean of each text."""
    return {
        text.name: float(np.concatenate([*windows]).mean())
        for text, windows in zip(texts, values, strict=True)
    }


def _not_negative(found: Interval | None) -> Interval | None:
    """Return an interval of what is never negative."""
    if found is None:
        return None
    return Interval(value=found.value, low=max(0.0, found.low), high=found.high)


def _halve(error: float, root: Interval | None) -> float:
    """Return the standard error of a root from that of its square, as llama.cpp does."""
    return error / (2 * root.value) if root is not None and root.value else 0.0


# --- answers and stories -------------------------------------------------------------------------


def count_flips(
    reference: LogitsEngine, other: LogitsEngine, questions: Sequence[AskedQuestion]
) -> AnswerFlips:
    """Compare the greedy answers of two models to the same questions.

    >>> from probes import load
    >>> from probes.data.questions import built_in_questions
    >>> from probes.measure.asking import ask
    >>> model = load("embedded")
    >>> found = count_flips(model, model, ask(model, built_in_questions()[:3]))
    >>> found.right_before, found.lost, found.won, found.p_value
    (3, 0, 0, 1.0)
    """
    before, after = (answer_greedily(model, [questions])[0].right for model in (reference, other))
    paired = distances.compare_answers(before, after)
    return AnswerFlips(
        questions=paired.questions,
        right_before=sum(before),
        lost=paired.lost,
        won=paired.won,
        p_value=paired.p_value,
        would_show=paired.shown,
    )


@once_per_session
def sample_stories(reference: LogitsEngine, seed: int) -> list[tuple[list[int], list[int]]]:
    """Return stories that a model samples at a high temperature, each as prompt ids and ids."""
    made = reference.generate_batch(
        STORIES, sampling=WIDE_HOT, seed=seed, num_return_sequences=RUNS, max_new_tokens=LENGTH
    )
    return [(each.prompt_ids, ids) for each in made for ids in each.ids if ids]


def compare_story_entropy(reference: LogitsEngine, other: LogitsEngine, seed: int) -> StoryEntropy:
    """Compare the entropy of both models along the same stories, which the first samples.

    >>> from probes import load
    >>> model = load("embedded")
    >>> found = compare_story_entropy(model, model, seed=0)
    >>> found.stories, found.before == found.after
    (9, True)
    """
    means = [
        [_mean_entropy(logits_along(model, prompt, ids)) for model in (reference, other)]
        for prompt, ids in sample_stories(reference, seed)
    ]
    each = np.array(means)
    differences = [np.array([after - before]) for before, after in means]
    return StoryEntropy(
        stories=len(means),
        before=float(each[:, 0].mean()),
        after=float(each[:, 1].mean()),
        difference=distances.estimate_mean([differences]),
    )


def _mean_entropy(logits: torch.Tensor) -> float:
    law = logits.double().log_softmax(dim=1)
    return float(-(law.exp() * law).sum(dim=1).mean())


# --- one quantization ----------------------------------------------------------------------------


def measure_cost(
    reference: LogitsEngine,
    other: Any,
    kind: str,
    *,
    texts: Sequence[ScoredText],
    questions: Sequence[AskedQuestion] = (),
    seed: int | None = None,
    every: int = LISTED_EVERY,
) -> QuantizationCost:
    """Compare what is computed with quantized weights with a reference.

    Of an engine without logits, distances are the least that its most likely tokens leave possible,
    at every so many positions. Without questions or a seed, answers or stories are left out.

    >>> from probes import load
    >>> from probes.data.corpus import built_in_corpus
    >>> from probes.measure.scored_windows import cut_windows
    >>> model = load("embedded")
    >>> texts = cut_windows(model, built_in_corpus(), context_length=64, most=6)
    >>> found = measure_cost(model, model.variant(quantization="nf4", dtype="float32"), "nf4",
    ...     texts=texts)
    >>> found.positions, 0 < found.bytes < 17e6, found.percentiles["99.9"] is None
    (372, True, True)
    >>> 0 < found.mean_divergence.low < found.mean_divergence.high < 1
    True
    """
    whole = "logits" in other.capabilities
    if whole:
        found = compare_windows(reference, other, texts)
    else:
        found = compare_listed(reference, other, texts, every=every)
    fields = summarize_distances(texts, found, whole=whole)
    return QuantizationCost(
        kind=kind,
        computes_in=other.facts().dtype,
        bytes=find_bytes(other),
        flips=count_flips(reference, other, questions) if questions else None,
        stories=None if seed is None else compare_story_entropy(reference, other, seed),
        **fields,
    )


def find_bytes(engine: Any) -> int:
    """Return the bytes of an engine's weights; 0 of a server that tells none."""
    if "weights" in engine.capabilities:
        return count_bytes(engine.network)
    return engine.facts().weight_bytes or 0


def name_storage(engine: Any) -> str:
    """Return how the weights are stored that an engine computes with, as far as it is told.

    >>> from probes import load
    >>> name_storage(load("embedded")), name_storage(load("embedded").variant(quantization="fp4"))
    ('float32', 'fp4')
    """
    if "weights" not in engine.capabilities:
        stated = engine.target.quantization.value
        return (engine.stored_as or "") or (stated if stated != "none" else "as served")
    own = own_quantization(engine)
    return own or engine.checkpoint.stored_quantization or str(engine.facts().dtype)
