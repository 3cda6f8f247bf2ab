"""Measure what quantization changes: distributions over a text, answers, and stories' entropy.

Windows of text are scored as llama.cpp's perplexity tool does: windows of 512 tokens, or as many as
the model can see, without overlap, the first token of each replaced by BOS where the tokenizer
inserts one; the second half of each is scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from probes.data.tokenizer_texts import STORIES
from probes.engines.session_cache import once_per_session
from probes.errors import UndecidableError
from probes.measure.engine_answers import logits_along
from probes.measure.knowledge import answer_greedily
from probes.measure.quantized_weights import count_bytes
from probes.schema.evidence.quantization import AnswerFlips, QuantizationCost, StoryEntropy
from probes.schema.evidence.shape import Interval
from probes.schema.sampling import WIDE_HOT
from probes.stats import distribution_distance as distances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.data.corpus import Corpus
    from probes.engines.base import Engine, LogitsEngine
    from probes.engines.transformers.engine import TransformersEngine
    from probes.measure.asking import AskedQuestion
    from probes.stats.distribution_distance import Distances

CONTEXT = 512
"""Tokens of a window: llama.cpp's default."""

FEWEST_WINDOWS = 2
"""Windows of each text that an interval needs; so many are scored unless all are."""

ROWS_AT_ONCE = 32
"""Positions compared together, which bounds the memory that their distributions take."""

LISTED, LISTED_EVERY = 100, 8
"""Most likely tokens that an engine is asked for, and of how many positions one is asked for."""

RUNS, LENGTH = 3, 30
"""Stories sampled for each opening, and their tokens."""


@dataclass(frozen=True)
class ScoredText:
    """The windows of a text."""

    name: str
    windows: tuple[tuple[int, ...], ...]


class BatchLogits(Protocol):
    """What computes the logits after every position of several texts of ids."""

    def logits_batch(self, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Return them, (positions, vocabulary) each, float32, on the CPU."""


def cut_windows(
    model: LogitsEngine, corpus: Corpus, *, context_length: int | None, most: int | None
) -> list[ScoredText]:
    """Return windows of equal length of each text, at most so many of each; all if None.

    Texts of fewer than two windows are left out; raise UndecidableError if all are.

    >>> from probes import load
    >>> from probes.data.corpus import built_in_corpus
    >>> model = load("embedded")
    >>> texts = cut_windows(model, built_in_corpus(), context_length=64, most=2)
    >>> [(text.name, len(text.windows), text.windows[1][0]) for text in texts]
    [('english', 2, 1), ('japanese', 2, 1)]
    """
    size = min(CONTEXT, context_length or CONTEXT)
    texts, longest = [], 0
    for name, text in corpus.texts.items():
        ids, plain = model.encode(text), model.encode(text, add_special_tokens=False)
        begin = ids[:1] if ids[:1] != plain[:1] and ids[0] in model.special_token_ids else []
        whole = [*begin, *plain]
        longest = max(longest, len(whole))
        starts = range(0, len(whole) - size + 1, size)
        windows = [(*begin, *whole[at + len(begin) : at + size]) for at in starts][:most]
        if len(windows) >= FEWEST_WINDOWS:
            texts.append(ScoredText(name, tuple(windows)))
    if not texts:
        raise UndecidableError(
            f"the corpus {corpus.name} is too short: {longest:,} tokens, and an interval needs "
            f"{FEWEST_WINDOWS} windows of {size}"
        )
    return texts


def compare_windows(
    reference: BatchLogits, other: BatchLogits, texts: Sequence[ScoredText]
) -> list[list[Distances]]:
    """Compare two models at the second half of every window of every text."""
    return [[_compare_window(reference, other, window) for window in t.windows] for t in texts]


def _compare_window(reference: BatchLogits, other: BatchLogits, window: Sequence[int]) -> Distances:
    first = len(window) // 2
    before, after = (
        model.logits_batch([list(window)])[0][first:-1] for model in (reference, other)
    )
    following = torch.tensor(window[first + 1 :])
    pieces = (torch.split(each, ROWS_AT_ONCE) for each in (before, after, following))
    parts = zip(*pieces, strict=True)
    found = [distances.compare_logits(*part) for part in parts]
    return distances.Distances(
        **{
            name: np.concatenate([getattr(each, name) for each in found])
            for name in distances.Distances.__dataclass_fields__
        }
    )


def compare_listed(
    reference: LogitsEngine,
    engine: Engine,
    texts: Sequence[ScoredText],
    *,
    every: int = LISTED_EVERY,
) -> tuple[distances.Windows, distances.Windows]:
    """Compare an engine that lists its most likely tokens alone: divergences, and same top tokens.

    Each divergence is the least that the listed tokens leave possible. Every so many of the scored
    positions is asked for, as each is a request. Those are left out at which a server lists none,
    as llama.cpp's does where its most likely token ends the text or a part of a character.

    >>> from probes import load
    >>> from probes.data.corpus import built_in_corpus
    >>> model = load("embedded")
    >>> texts = cut_windows(model, built_in_corpus(), context_length=64, most=2)
    >>> divergence, same_top = compare_listed(model, model, texts)
    >>> [len(window) for window in divergence[0]], bool(max(divergence[0][0]) < 1e-6)
    ([4, 4], True)
    """
    divergence: list[list[distances.Floats]] = []
    same: list[list[distances.Floats]] = []
    for text in texts:
        divergence.append([])
        same.append([])
        for window in text.windows:
            places = [*range(len(window) // 2, len(window) - 1, every)]
            laws = _compute_laws(reference, window, places)
            made = engine.generate_batch(
                [list(window[: place + 1]) for place in places],
                max_new_tokens=1,
                do_sample=False,
                top_logprobs=LISTED,
            )
            listed = ((each.top_logprobs or [[]])[0] for each in made)
            pairs = [(law, tops[0]) for law, tops in zip(laws, listed, strict=True) if tops]
            divergence[-1].append(
                np.array(
                    [
                        distances.least_divergence(top.logprobs, law[top.ids].tolist())
                        for law, top in pairs
                    ]
                )
            )
            same[-1].append(
                np.array([float(int(law.argmax()) == top.ids[0]) for law, top in pairs])
            )
    return divergence, same


@once_per_session
def _compute_laws(
    reference: LogitsEngine, window: Sequence[int], places: Sequence[int]
) -> torch.Tensor:
    """Return the log-probabilities after some positions of a window: every engine needs them."""
    logits = reference.logits_batch([list(window)])[0]
    return logits[list(places)].double().log_softmax(dim=1)


def summarize_distances(
    texts: Sequence[ScoredText], found: list[list[Distances]]
) -> dict[str, Any]:
    """Return the fields of a `QuantizationCost` that whole distributions give."""

    def values(name: str, power: int = 1) -> list[list[distances.Floats]]:
        return [[getattr(each, name) ** power for each in text] for text in found]

    divergence, squares = values("divergence"), values("probability_change", power=2)
    ratios, same = values("log_ratio"), values("same_top")
    root = distances.estimate_root(squares)
    return {
        "context": len(texts[0].windows[0]),
        "windows": sum(len(text.windows) for text in texts),
        "positions": sum(len(window) for text in divergence for window in text),
        "whole": True,
        "mean_divergence": _not_negative(distances.estimate_mean(divergence)),
        "percentiles": _percentiles(divergence),
        "rms_change": root,
        "same_top": distances.estimate_share(same),
        "perplexity_ratio": distances.estimate_ratio(ratios),
        "errors_over_positions": {
            "mean_divergence": distances.error_over_positions(divergence),
            "rms_change": _halve(distances.error_over_positions(squares), root),
            "same_top": distances.error_over_positions(same),
            "log_perplexity_ratio": distances.error_over_positions(ratios),
        },
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
    reference: TransformersEngine,
    quantized: TransformersEngine,
    kind: str,
    *,
    texts: Sequence[ScoredText],
    questions: Sequence[AskedQuestion] = (),
    seed: int | None = None,
) -> QuantizationCost:
    """Compare a quantized model with the same model as it is.

    Without questions or a seed, answers or stories are left out.

    >>> from probes import load
    >>> from probes.data.corpus import built_in_corpus
    >>> model = load("embedded")
    >>> texts = cut_windows(model, built_in_corpus(), context_length=64, most=6)
    >>> found = measure_cost(model, model.variant(quantization="nf4", dtype="float32"), "nf4",
    ...     texts=texts)
    >>> found.positions, found.bytes, found.percentiles["99.9"] is None
    (372, 16701952, True)
    >>> 0 < found.mean_divergence.low < found.mean_divergence.high < 1
    True
    """
    fields = summarize_distances(texts, compare_windows(reference, quantized, texts))
    return QuantizationCost(
        kind=kind,
        computes_in=quantized.facts().dtype,
        bytes=count_bytes(quantized.network),
        flips=count_flips(reference, quantized, questions) if questions else None,
        stories=None if seed is None else compare_story_entropy(reference, quantized, seed),
        **fields,
    )


def measure_served_cost(
    reference: LogitsEngine,
    engine: Any,
    kind: str,
    *,
    texts: Sequence[ScoredText],
    questions: Sequence[AskedQuestion] = (),
    every: int = LISTED_EVERY,
) -> QuantizationCost:
    """Compare an engine that computes with quantized weights with a reference.

    What the probability of the following token changes by is not known of a token that is not
    listed, so it is left out, and with it the ratio of perplexities.
    """
    divergence, same = compare_listed(reference, engine, texts, every=every)
    return QuantizationCost(
        kind=kind,
        computes_in=engine.facts().dtype,
        bytes=engine.facts().weight_bytes or 0,
        context=len(texts[0].windows[0]),
        windows=sum(len(text.windows) for text in texts),
        positions=sum(len(window) for text in divergence for window in text),
        whole=False,
        mean_divergence=_not_negative(distances.estimate_mean(divergence)),
        percentiles=_percentiles(divergence),
        rms_change=None,
        same_top=distances.estimate_share(same),
        perplexity_ratio=None,
        errors_over_positions={
            "mean_divergence": distances.error_over_positions(divergence),
            "same_top": distances.error_over_positions(same),
        },
        by_text=_by_text(texts, divergence),
        flips=count_flips(reference, engine, questions) if questions else None,
    )
