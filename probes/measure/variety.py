"""Measure how much sampled texts vary, and how likely the model finds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import stats

from probes.engines.session_cache import once_per_session
from probes.measure.greedy import probability_of_greedy
from probes.schema.evidence.texts import SampleVariety
from probes.stats import sampling_reference as reference
from probes.stats.goodness_of_fit import poisson_binomial_cdf
from probes.stats.repetition import share_of_distinct_ngrams
from probes.stats.text_probability import TextDistribution, enumerate_texts

if TYPE_CHECKING:
    from probes.engines.base import Generation, LogitsEngine, Prompt
    from probes.schema.sampling import Sampling

LOGITS_AT_ONCE = 5 * 2**22  # most logits, over rows, steps and vocabulary, of a batch of samples
ROWS_AT_ONCE = 64  # most rows of a batch without logits


@once_per_session
def possible_texts(
    model: LogitsEngine, prompt: Prompt, sampling: Sampling, length: int, width: int = 64
) -> TextDistribution:
    """Compute the texts that sampling can give after a prompt, once a session.

    One batched forward pass a token, over the `width` most likely prefixes.

    >>> from probes import Sampling, load
    >>> texts = possible_texts(load("embedded"), "The capital of Japan is", Sampling(top_k=1), 3)
    >>> len(texts.ids), texts.rest
    (1, 0.0)
    """
    ids = model.encode_prompt(prompt)

    follow = model.follow_branches()

    def step(prefixes: list[tuple[int, ...]]) -> torch.Tensor:
        logits = follow([[*ids, *prefix] for prefix in prefixes]).cpu()
        return reference.log_probabilities(logits, sampling)

    return enumerate_texts(step, length, width=width, eos_token_ids=model.eos_token_ids)


def samples_to_differ(agreement: float, alpha: float, most: int = 64) -> int | None:
    """Return how many pairs of texts do not all agree by chance, to an error rate of alpha.

    `agreement` is the probability that two texts agree. None: more than `most` pairs are needed.

    >>> samples_to_differ(0.1, 1e-6), samples_to_differ(0.9, 1e-6)
    (6, None)
    """
    if agreement <= 0:
        return 1
    if agreement >= 1:
        return None
    needed = math.ceil(round(math.log(alpha) / math.log(agreement), 9))
    return max(1, needed) if needed <= most else None


@dataclass(frozen=True)
class Sample:
    """A sampled text, measured before its logits are dropped."""

    ids: list[int]  # new tokens only
    text: str
    entropy: float  # mean of the distributions it was sampled from, in nats
    log_likelihood: float  # mean over its tokens under the model at temperature 1, in nats


@dataclass(frozen=True)
class Variety:
    """Many samples of one prompt."""

    texts: list[str]
    entropies: list[float]  # of each sample, the mean over what it was sampled from, in nats
    log_likelihoods: list[float]  # of each sample, the mean over its tokens under the model itself
    distinct_texts: int  # number of different samples
    distinct_4_grams: float  # share of all samples' 4-grams that differ

    def summary(self) -> SampleVariety:
        """Return means, counts and three of the texts."""
        means = {
            "entropies": float(np.mean(self.entropies)),
            "log_likelihoods": float(np.mean(self.log_likelihoods)),
        }
        return SampleVariety(**asdict(self) | means | {"texts": self.texts[:3]})


@once_per_session
def measure_variety(
    model: LogitsEngine,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    samples: int,
    length: int,
    seed: int,
) -> list[Variety]:
    """Sample several prompts together and measure each prompt's samples, once a session.

    >>> from probes import Sampling, load
    >>> greedy = Sampling(top_k=1)
    >>> found = measure_variety(load("embedded"), ["Once"], greedy, samples=3, length=8, seed=0)
    >>> found[0].distinct_texts, max(found[0].entropies)
    (1, 0.0)
    """
    most = max(1, LOGITS_AT_ONCE // (len(prompts) * length * model.vocab_size))

    def sample_batch(first: int) -> list[list[Sample]]:
        generations = model.generate_batch(
            prompts,
            sampling=sampling,
            seed=None if first else seed,  # later batches continue the random numbers
            num_return_sequences=min(most, samples - first),
            max_new_tokens=length,
            output_logits=True,
            output_scores=True,
        )
        return [_measure_samples(generation) for generation in generations]

    batches = [sample_batch(first) for first in range(0, samples, most)]
    return [_combine(list(chain.from_iterable(each))) for each in zip(*batches, strict=True)]


def _measure_samples(generation: Generation) -> list[Sample]:
    if generation.logits is None or generation.scores is None:
        raise ValueError("generate returned no logits or no scores")
    samples = []
    for new, text, logits, scores in zip(
        generation.ids, generation.texts, generation.logits, generation.scores, strict=True
    ):
        own = logits[: len(new)].log_softmax(dim=-1)
        likelihood = float(own.gather(-1, torch.tensor(new).unsqueeze(-1)).mean())
        # Few tokens of a large vocabulary are kept by the filters.
        filtered = scores[: len(new)]
        kept = filtered.topk(int(reference.count_kept(filtered).max()), dim=-1).values
        entropy = float(reference.entropy(reference.log_probabilities(kept)).mean())
        samples.append(Sample(new, text, entropy, likelihood))
    return samples


def _combine(samples: Sequence[Sample]) -> Variety:
    # One sequence with separators: a 4-gram that two samples share counts as repeated.
    together = [token for sample in samples for token in [*sample.ids, -1]]
    return Variety(
        [sample.text for sample in samples],
        [sample.entropy for sample in samples],
        [sample.log_likelihood for sample in samples],
        len({tuple(sample.ids) for sample in samples}),
        share_of_distinct_ngrams([together], 4),
    )


def p_value_of_larger(larger: Sequence[float], smaller: Sequence[float]) -> float:
    """Return the p-value of a larger mean, by Welch's test.

    >>> p_value_of_larger([3.0, 3.1, 2.9, 3.0], [1.0, 1.1, 0.9, 1.0]) < 1e-6
    True
    """
    if len({*larger, *smaller}) == 1:  # the test divides by a spread that is 0
        return 1.0
    return float(stats.ttest_ind(larger, smaller, equal_var=False, alternative="greater").pvalue)


@dataclass(frozen=True)
class Reproductions:
    """How many sampled runs gave the greedy text, and how many should."""

    runs: int  # of all prompts together
    reproduced: int  # runs that gave their prompt's greedy text
    expected: float  # the sum of the exact probabilities
    p_value: float  # probability of at most as many, if those are right


def count_reproductions(
    model: LogitsEngine, texts: Sequence[Generation], sampling: Sampling, *, runs: int, seed: int
) -> Reproductions:
    """Sample every prompt `runs` times, in batches, and compare with its greedy text.

    The greedy texts are of one length and have their logits.
    """
    most = max(1, ROWS_AT_ONCE // len(texts))
    same = 0
    for first in range(0, runs, most):
        sampled = model.generate_batch(
            [text.prompt_ids for text in texts],
            sampling=sampling,
            seed=None if first else seed,  # later batches continue the random numbers
            num_return_sequences=min(most, runs - first),
            max_new_tokens=max(len(text.ids[0]) for text in texts),
        )
        for each, text in zip(sampled, texts, strict=True):
            same += sum(new == text.ids[0] for new in each.ids)
    chances = [probability_of_greedy(text, sampling) for text in texts for _ in range(runs)]
    return Reproductions(
        runs=runs * len(texts),
        reproduced=same,
        expected=sum(chances),
        p_value=poisson_binomial_cdf(same, chances),
    )
