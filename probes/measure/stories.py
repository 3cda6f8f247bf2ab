"""How much stories vary, and how likely the model finds them, over a grid of sampling settings.

All settings are drawn in one batch: each row has its own, and a forward pass serves them all. Their
filters are ours (`probes.stats.sampling_reference`), which other claims hold against the library's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

import torch
from sacrebleu.metrics.bleu import BLEU
from transformers import LogitsProcessor

from probes.data.tokenizer_texts import STORIES
from probes.engines.session_cache import once_per_session
from probes.errors import BrokenModelError
from probes.measure.knowledge import likeliest
from probes.schema.sampling import GRID, LIBRARY_TOP_K, Sampling
from probes.stats import sampling_reference as filters
from probes.stats.repetition import find_repeated_tail, share_of_distinct_ngrams
from probes.stats.text_probability import path_log_probability

if TYPE_CHECKING:
    from probes.engines.base import Generation, Prompt
    from probes.engines.base import LogitsEngine as Model

LENGTH = 30
"""New tokens of a story."""

SAMPLES = 3
"""Stories an opening and setting."""

COMPARED = 10_000
"""Characters of a story that are compared with others: a token can stand for any text."""

N_GRAM = 4
"""Tokens of the n-grams that are counted."""

GPT2_LARGE = (
    {"decoding": "human text", "perplexity": 12.38, "self_bleu_4": 0.31, "repeating_percent": 0.28},
    {"decoding": "greedy", "perplexity": 1.50, "self_bleu_4": 0.50, "repeating_percent": 73.66},
    {"decoding": "beam 16", "perplexity": 1.48, "self_bleu_4": 0.44, "repeating_percent": 28.94},
    {"decoding": "sampling", "perplexity": 22.73, "self_bleu_4": 0.28, "repeating_percent": 0.22},
    {"decoding": "top-k 40", "perplexity": 6.88, "self_bleu_4": 0.39, "repeating_percent": 0.78},
    {"decoding": "top-p 0.95", "perplexity": 13.13, "self_bleu_4": 0.32, "repeating_percent": 0.36},
)
"""Published for GPT-2 Large, beside ours as context: longer texts of another model."""

GPT2_LARGE_SOURCE = 'Holtzman et al. (2019), "The Curious Case of Neural Text Degeneration"'


@dataclass(frozen=True)
class Story:
    """A text drawn after an opening.

    Attributes:
        ids: its new token ids.
        text: those ids decoded.
        entropy: mean entropy of the distributions it was drawn from, in nats.
        log_likelihood: mean log-probability of a token under the model at temperature 1, in nats.
    """

    ids: list[int]
    text: str
    entropy: float
    log_likelihood: float


@dataclass(frozen=True)
class Runs:
    """Several runs of one opening.

    Attributes:
        texts: what each added.
        distinct: how many of them are different token by token.
        chance_of_repeat: of a run giving the same as one before it, given the earlier ones; exact.
    """

    texts: list[str]
    distinct: int
    chance_of_repeat: float


def greedy_runs(
    model: Model, *, openings: Sequence[Prompt] = STORIES, runs: int = 3, length: int = LENGTH
) -> list[Runs]:
    """Continue several openings greedily, several times anew.

    >>> from probes import load
    >>> [runs.distinct for runs in greedy_runs(load("embedded"), runs=2, length=5)]
    [1, 1, 1]
    """
    made = [
        model.generate_batch(openings, max_new_tokens=length, do_sample=False) for _ in range(runs)
    ]
    return [
        Runs([run.text for run in of_one], len({tuple(run.ids[0]) for run in of_one}), 1.0)
        for of_one in zip(*made, strict=True)
    ]


def sampled_runs(
    model: Model,
    sampling: Sampling,
    seed: int,
    *,
    openings: Sequence[Prompt] = STORIES,
    runs: int = 3,
    length: int = LENGTH,
) -> list[Runs]:
    """Continue several openings several times by `generate`'s own sampling, in one batch.

    >>> from probes import load
    >>> found = sampled_runs(load("embedded"), Sampling(top_k=1), 0, runs=2, length=5)
    >>> found[0].distinct, found[0].chance_of_repeat
    (1, 1.0)
    """
    made = model.generate_batch(
        openings,
        sampling=sampling,
        seed=seed,
        num_return_sequences=runs,
        max_new_tokens=length,
        output_scores=True,
    )
    return [
        Runs(run.texts, len(set(map(tuple, run.ids))), min(1.0, sum(_probabilities(run)[:-1])))
        for run in made
    ]


def _probabilities(generation: Generation) -> list[float]:
    """How likely each text of a generation was drawn: the product over its steps."""
    if generation.scores is None:
        raise ValueError("generate returned no scores")
    return [
        math.exp(path_log_probability(filters.log_probabilities(scores[: len(new)]), new))
        for scores, new in zip(generation.scores, generation.ids, strict=True)
    ]


@dataclass(frozen=True)
class Variety:
    """How much the stories at one setting vary.

    Attributes:
        distinct_texts: share of an opening's stories that are different, mean over openings.
        distinct_4_grams: share of their 4-grams that are different, those of an opening together.
        self_bleu: mean BLEU-4 of a story against the others of its opening, between 0 and 1.
        entropy: mean entropy of the distributions drawn from, in nats a token.
        log_likelihood: mean log-probability under the model at temperature 1, in nats a token.
        repeating: share of stories that end in a repeated phrase.
    """

    distinct_texts: float
    distinct_4_grams: float
    self_bleu: float
    entropy: float
    log_likelihood: float
    repeating: float


Stories = dict[Sampling, list[list[Story]]]
"""For each setting, and each opening, its stories."""


@once_per_session
def grid(
    model: Model,
    seed: int,
    *,
    openings: Sequence[Prompt] = STORIES,
    settings: Sequence[Sampling] = GRID,
    samples: int = SAMPLES,
    length: int = LENGTH,
) -> Stories:
    """Draw stories after several openings at several settings, once a session.

    One forward pass a token for all of them.

    Args:
        model: the target.
        seed: of the draws.
        openings: the prompts.
        settings: how to draw.
        samples: stories an opening and setting.
        length: new tokens, unless an end comes first.

    Raises:
        BrokenModelError: if the library's `generate` leaves the draws out.

    >>> from probes import load
    >>> found = grid(load("embedded"), 0, settings=[Sampling(top_k=1)], samples=2, length=5)
    >>> [stories[0].entropy for stories in found[Sampling(top_k=1)]]
    [0.0, 0.0, 0.0]
    """
    each = [(setting, opening) for setting in settings for opening in openings]
    rows = [cell for cell in each for _ in range(samples)]
    drawer = _Drawer([setting for setting, _ in rows], seed)
    generations = model.generate_batch(
        [opening for _, opening in rows],
        max_new_tokens=length,
        do_sample=False,
        logits_processor=[drawer],
    )
    if not drawer.entropies:
        raise BrokenModelError("generate calls no logits_processor that it is given")
    entropies, likelihoods = torch.stack(drawer.entropies), torch.stack(drawer.log_likelihoods)
    stories = []
    for row, generation in enumerate(generations):
        new = generation.ids[0]
        stories.append(
            Story(
                new,
                generation.text,
                float(entropies[: len(new), row].mean()),
                float(likelihoods[: len(new), row].mean()),
            )
        )
    groups = iter(stories[at : at + samples] for at in range(0, len(stories), samples))
    return {setting: [next(groups) for _ in openings] for setting in settings}


class _Drawer(LogitsProcessor):
    """Draws every row's next token at its own setting; `generate` then takes the one it leaves.

    Noise of Gumbel's law added to log-probabilities makes the largest a draw from them.
    """

    def __init__(self, settings: Sequence[Sampling], seed: int) -> None:
        self.rows: dict[Sampling, list[int]] = {}
        for row, setting in enumerate(settings):
            self.rows.setdefault(setting, []).append(row)
        tops = [LIBRARY_TOP_K if s.top_k is None else s.top_k for s in settings]
        self.most = 0 if 0 in tops else max(tops)
        self.chance = torch.Generator().manual_seed(seed)
        self.entropies: list[torch.Tensor] = []
        self.log_likelihoods: list[torch.Tensor] = []

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logits, tokens = likeliest(scores.float().cpu(), self.most)
        law = torch.empty_like(logits, dtype=torch.float64)
        for setting, rows in self.rows.items():
            law[rows] = filters.log_probabilities(logits[rows], setting)
        noise = -torch.empty_like(law).exponential_(generator=self.chance).log()
        place = (law + noise).argmax(dim=-1, keepdim=True)
        chosen = tokens.gather(-1, place).to(scores.device)
        self.entropies.append(filters.entropy(law))
        whole = scores.float().logsumexp(dim=-1, keepdim=True)
        self.log_likelihoods.append((scores.gather(-1, chosen) - whole)[:, 0].double().cpu())
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)


def variety(stories: Sequence[Sequence[Story]]) -> Variety:
    """Measure how much stories vary.

    Args:
        stories: for each opening its stories, two or more.

    >>> same = [Story([1, 2, 3, 4, 5], "once upon a time there", 0.0, -1.0)] * 3
    >>> found = variety([same])
    >>> round(found.distinct_texts, 2), round(found.distinct_4_grams, 2), round(found.self_bleu, 6)
    (0.33, 0.33, 1.0)
    """
    every = [story for group in stories for story in group]
    return Variety(
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
    """Mean BLEU-4 of each text against the others, by sacrebleu: 1 if they are all the same.

    Args:
        texts: two or more; of one that is longer than 10,000 characters, those alone count.

    >>> round(self_bleu(["a b c d e", "v w x y z"]), 2)
    0.0
    """
    bleu = BLEU(effective_order=True)
    texts = [text[:COMPARED] for text in texts]
    scores = [
        bleu.sentence_score(text, [*texts[:place], *texts[place + 1 :]]).score
        for place, text in enumerate(texts)
    ]
    return mean(scores) / 100
