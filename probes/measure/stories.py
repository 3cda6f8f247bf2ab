"""Measure how much stories vary, and how likely the model finds them, over a grid of settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from probes.data.tokenizer_texts import STORIES
from probes.engines.base import Generation, LogitsEngine
from probes.measure.row_sampling import Sample, Samples, sample_texts
from probes.schema.sampling import GRID, Sampling
from probes.stats import sampling_reference as reference
from probes.stats.bleu import sentence_bleu
from probes.stats.repetition import find_repeated_tail, share_of_distinct_ngrams
from probes.stats.text_probability import path_log_probability

LENGTH = 30  # new tokens of a story
SAMPLES = 3  # stories for each opening and setting
MAX_CHARACTERS = 10_000  # characters of a story that are compared: a token can represent any text
N_GRAM = 4  # tokens of the n-grams that are counted

GPT2_LARGE = (
    {"decoding": "human text", "perplexity": 12.38, "self_bleu_4": 0.31, "repeating_percent": 0.28},
    {"decoding": "greedy", "perplexity": 1.50, "self_bleu_4": 0.50, "repeating_percent": 73.66},
    {"decoding": "beam 16", "perplexity": 1.48, "self_bleu_4": 0.44, "repeating_percent": 28.94},
    {"decoding": "sampling", "perplexity": 22.73, "self_bleu_4": 0.28, "repeating_percent": 0.22},
    {"decoding": "top-k 40", "perplexity": 6.88, "self_bleu_4": 0.39, "repeating_percent": 0.78},
    {"decoding": "top-p 0.95", "perplexity": 13.13, "self_bleu_4": 0.32, "repeating_percent": 0.36},
)
"""Published for GPT-2 Large, as context for the measured figures: longer texts of another model."""

GPT2_LARGE_SOURCE = 'Holtzman et al. (2019), "The Curious Case of Neural Text Degeneration"'


@dataclass(frozen=True)
class StoryRuns:
    """Several runs of one opening."""

    texts: list[str]
    distinct: int  # how many texts differ, token by token where the engine tells ids
    # That a run repeats an earlier one, given the earlier ones; exact; None without its logits.
    chance_of_repeat: float | None


def run_greedily(model: LogitsEngine, runs: int, length: int = LENGTH) -> list[StoryRuns]:
    """Continue each of `STORIES` greedily, several times.

    >>> from probes import load
    >>> [runs.distinct for runs in run_greedily(load("embedded"), runs=2, length=5)]
    [1, 1, 1]
    """
    batches = [
        model.generate_batch(STORIES, max_new_tokens=length, do_sample=False) for _ in range(runs)
    ]
    return [
        StoryRuns(
            [run.text for run in of_one],
            len({(tuple(run.ids[0]), run.text) for run in of_one}),
            1.0,
        )
        for of_one in zip(*batches, strict=True)
    ]


def run_by_sampling(
    model: LogitsEngine, sampling: Sampling, seed: int, runs: int, length: int = LENGTH
) -> list[StoryRuns]:
    """Continue each of `STORIES` several times by `generate`'s own sampling, in one batch.

    >>> from probes import load
    >>> found = run_by_sampling(load("embedded"), Sampling(top_k=1), 0, runs=2, length=5)
    >>> found[0].distinct, found[0].chance_of_repeat
    (1, 1.0)
    """
    scores = {"output_scores": True} if "logits" in model.capabilities else {}
    generations = model.generate_batch(
        STORIES,
        sampling=sampling,
        seed=seed,
        num_return_sequences=runs,
        max_new_tokens=length,
        **scores,
    )
    return [
        StoryRuns(
            each.texts,
            _count_distinct(each),
            min(1.0, sum(_probabilities(each)[:-1])) if scores else None,
        )
        for each in generations
    ]


def _count_distinct(generation: Generation) -> int:
    """Count the samples that differ: by their texts too, as a server may tell no ids."""
    return len(set(zip(map(tuple, generation.ids), generation.texts, strict=True)))


def _probabilities(generation: Generation) -> list[float]:
    """Return the probability with which each text of a generation was sampled."""
    if generation.scores is None:
        raise ValueError("generate returned no scores")
    return [
        math.exp(path_log_probability(reference.log_probabilities(scores[: len(new)]), new))
        for scores, new in zip(generation.scores, generation.ids, strict=True)
    ]


def sample_grid(
    model: LogitsEngine,
    seed: int,
    *,
    settings: Sequence[Sampling] = GRID,
    samples: int = SAMPLES,
    length: int = LENGTH,
) -> Samples:
    """Sample stories after each of `STORIES` at several settings in one batch, once a session.

    Raises BrokenModelError if the library's `generate` ignores the logits processor.

    >>> from probes import load
    >>> found = sample_grid(load("embedded"), 0, settings=[Sampling(top_k=1)], samples=2, length=5)
    >>> [stories[0].entropy for stories in found[Sampling(top_k=1)]]
    [0.0, 0.0, 0.0]
    """
    return sample_texts(model, STORIES, settings, samples=samples, length=length, seed=seed)


@dataclass(frozen=True)
class StoryVariety:
    """How much the stories of one setting vary: each figure is a mean over them."""

    distinct_texts: float  # share of an opening's stories that differ
    distinct_4_grams: float  # share of the 4-grams that differ, those of an opening together
    self_bleu: float  # BLEU-4 of a story against the others of its opening, between 0 and 1
    entropy: float  # of the distributions sampled from, in nats a token
    log_likelihood: float  # under the model at temperature 1, in nats a token
    repeating: float  # share of stories that end in a repeated phrase


def measure_story_variety(stories: Sequence[Sequence[Sample]]) -> StoryVariety:
    """Measure how much stories vary: of each opening two or more.

    >>> same = [Sample([1, 2, 3, 4, 5], "once upon a time there", 0.0, -1.0)] * 3
    >>> found = measure_story_variety([same])
    >>> round(found.distinct_texts, 2), round(found.distinct_4_grams, 2), round(found.self_bleu, 6)
    (0.33, 0.33, 1.0)
    """
    every = [story for group in stories for story in group]
    return StoryVariety(
        distinct_texts=mean(len({tuple(s.ids) for s in group}) / len(group) for group in stories),
        distinct_4_grams=mean(
            share_of_distinct_ngrams([s.ids for s in group], N_GRAM) for group in stories
        ),
        self_bleu=mean(self_bleu([s.text for s in group]) for group in stories),
        entropy=mean(story.entropy for story in every),
        log_likelihood=mean(story.log_likelihood for story in every),
        repeating=mean(find_repeated_tail(story.ids)[1] > 1 for story in every),
    )


def self_bleu(texts: Sequence[str]) -> float:
    """Return the mean BLEU-4 of each of several texts against the others.

    >>> round(self_bleu(["a b c d e", "v w x y z"]), 2)
    0.0
    """
    texts = [text[:MAX_CHARACTERS] for text in texts]
    return mean(
        sentence_bleu(text, [*texts[:place], *texts[place + 1 :]])
        for place, text in enumerate(texts)
    )
