"""How much sampled texts vary, and how likely the model finds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from probes import filters
from probes.decoding import greedy, probability_of_greedy
from probes.model import Model, Prompt
from probes.repetition import distinct_ngrams
from probes.sampling import Sampling


@dataclass(frozen=True)
class Variety:
    """Many samples of one prompt.

    Attributes:
        texts: the samples, decoded.
        entropies: of each sample the mean entropy of the distributions it was drawn from, in nats.
        log_likelihoods: of each sample the mean log-probability of a token under the model itself.
        distinct_texts: how many of the samples are different.
        distinct_4_grams: share of all samples' 4-grams that are different.
    """

    texts: list[str]
    entropies: list[float]
    log_likelihoods: list[float]
    distinct_texts: int
    distinct_4_grams: float

    def as_evidence(self) -> dict[str, Any]:
        """The same in short: means, counts and three of the texts."""
        return asdict(self) | {
            "texts": self.texts[:3],
            "entropies": float(np.mean(self.entropies)),
            "log_likelihoods": float(np.mean(self.log_likelihoods)),
        }


def of_samples(
    model: Model, prompt: Prompt, sampling: Sampling, *, samples: int, length: int, seed: int
) -> Variety:
    """Draw samples of one prompt in a batch and measure them.

    >>> from probes import load
    >>> found = of_samples(
    ...     load("embedded"), "Once upon a time,", Sampling(top_k=1), samples=3, length=8, seed=0
    ... )
    >>> found.distinct_texts, max(found.entropies)
    (1, 0.0)
    """
    ids = tuple(model.prompt_ids(prompt))
    return model.remember(
        ("variety", ids, sampling, samples, length, seed),
        lambda: _measured(model, ids, sampling, samples, length, seed),
    )


def _measured(
    model: Model, ids: Prompt, sampling: Sampling, samples: int, length: int, seed: int
) -> Variety:
    generation = model.generate(
        ids,
        sampling=sampling,
        seed=seed,
        samples=samples,
        max_new_tokens=length,
        output_logits=True,
        output_scores=True,
    )
    if generation.logits is None or generation.scores is None:
        raise ValueError("generate returned no logits or scores")
    entropies, likelihoods = [], []
    rows = zip(generation.ids, generation.logits, generation.scores, strict=True)
    for new, logits, scores in rows:
        steps = slice(0, len(new))
        drawn_from = filters.log_probabilities(scores[steps])
        chosen = torch.tensor(new).unsqueeze(-1)
        entropies.append(float(filters.entropy(drawn_from).mean()))
        own = filters.log_probabilities(logits[steps]).gather(-1, chosen)
        likelihoods.append(float(own.mean()))
    # One long row, so that a 4-gram two samples share counts as repeated.
    together = [token for new in generation.ids for token in [*new, -1]]
    return Variety(
        generation.texts,
        entropies,
        likelihoods,
        len(set(map(tuple, generation.ids))),
        distinct_ngrams(together, 4),
    )


def p_value_of_larger(larger: Sequence[float], smaller: Sequence[float]) -> float:
    """Probability of such a difference of means, or a larger one, if there were none (Welch).

    >>> p_value_of_larger([3.0, 3.1, 2.9, 3.0], [1.0, 1.1, 0.9, 1.0]) < 1e-6
    True
    """
    return float(stats.ttest_ind(larger, smaller, equal_var=False, alternative="greater").pvalue)


@dataclass(frozen=True)
class Reproduced:
    """How many sampled runs gave the greedy text, against how many should.

    Attributes:
        runs: runs of all prompts together.
        reproduced: those that gave their prompt's greedy text.
        expected: the sum of the exact probabilities.
        p_value: probability of as few or fewer, if those are right.
    """

    runs: int
    reproduced: int
    expected: float
    p_value: float


def runs_that_reproduce_greedy(
    model: Model,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    runs: int,
    length: int,
    seed: int,
) -> Reproduced:
    """Sample every prompt several times in one batch and compare with the greedy texts."""
    texts = greedy(model, prompts, length)
    drawn = model.generate_batch(
        prompts, sampling=sampling, seed=seed, samples=runs, max_new_tokens=length
    )
    same = [sum(new == text.ids[0] for new in d.ids) for d, text in zip(drawn, texts, strict=True)]
    chances = [probability_of_greedy(text, sampling) for text in texts for _ in range(runs)]
    return Reproduced(
        runs=runs * len(texts),
        reproduced=sum(same),
        expected=sum(chances),
        p_value=as_few_or_fewer(sum(same), chances),
    )


def as_few_or_fewer(successes: int, chances: Sequence[float]) -> float:
    """Probability of at most so many successes in independent trials of unequal chances.

    >>> round(as_few_or_fewer(1, [0.5, 0.5]), 3)
    0.75
    """
    distribution = np.ones(1)
    for chance in chances:
        distribution = np.convolve(distribution, [1 - chance, chance])
    return float(distribution[: successes + 1].sum())
