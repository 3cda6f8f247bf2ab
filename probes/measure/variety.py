"""How much sampled texts vary, and how likely the model finds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain

import numpy as np
import torch
from scipy import stats

from probes.engines.base import Generation, Prompt
from probes.engines.base import LogitsEngine as Model
from probes.engines.session_cache import once_per_session
from probes.measure.decoding import probability_of_greedy
from probes.schema.evidence.texts import SampleVariety
from probes.schema.sampling import Sampling
from probes.stats import sampling_reference as filters
from probes.stats.goodness_of_fit import poisson_binomial_cdf
from probes.stats.repetition import share_of_distinct_ngrams

LOGITS_AT_ONCE = 5 * 2**22
"""Most logits, over rows, steps and vocabulary, that a batch of samples keeps."""

ROWS_AT_ONCE = 64
"""Most rows of a batch of which no logits are kept."""


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

    def summary(self) -> SampleVariety:
        """Return means, counts and three of the texts."""
        means = {
            "entropies": float(np.mean(self.entropies)),
            "log_likelihoods": float(np.mean(self.log_likelihoods)),
        }
        return SampleVariety(**asdict(self) | means | {"texts": self.texts[:3]})


@once_per_session
def of_samples(
    model: Model,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    samples: int,
    length: int,
    seed: int,
) -> list[Variety]:
    """Draw samples of several prompts together and measure each prompt's, once a session.

    >>> from probes import Sampling, load
    >>> found = of_samples(
    ...     load("embedded"), ["Once upon a time,"], Sampling(top_k=1), samples=3, length=8, seed=0
    ... )
    >>> found[0].distinct_texts, max(found[0].entropies)
    (1, 0.0)
    """
    most = max(1, LOGITS_AT_ONCE // (len(prompts) * length * model.vocab_size))

    def batch(first: int) -> list[list[Sample]]:
        generations = model.generate_batch(
            prompts,
            sampling=sampling,
            seed=None if first else seed,  # the later batches go on with the same random numbers
            num_return_sequences=min(most, samples - first),
            max_new_tokens=length,
            output_logits=True,
            output_scores=True,
        )
        return [_measured(generation) for generation in generations]

    batches = [batch(first) for first in range(0, samples, most)]
    return [_together(list(chain.from_iterable(each))) for each in zip(*batches, strict=True)]


@dataclass(frozen=True)
class Sample:
    """One sample, measured while its logits are there."""

    ids: list[int]
    text: str
    entropy: float
    log_likelihood: float


def _measured(generation: Generation) -> list[Sample]:
    if generation.logits is None or generation.scores is None:
        raise ValueError("generate returned no logits or no scores")
    samples = []
    for new, text, logits, scores in zip(
        generation.ids, generation.texts, generation.logits, generation.scores, strict=True
    ):
        own = logits[: len(new)].log_softmax(dim=-1)
        likelihood = float(own.gather(-1, torch.tensor(new).unsqueeze(-1)).mean())
        entropy = float(_entropy_of_kept(scores[: len(new)]).mean())
        samples.append(Sample(new, text, entropy, likelihood))
    return samples


def _together(samples: Sequence[Sample]) -> Variety:
    # One sequence with separators: a 4-gram that two samples share counts as repeated.
    together = [token for sample in samples for token in [*sample.ids, -1]]
    return Variety(
        [sample.text for sample in samples],
        [sample.entropy for sample in samples],
        [sample.log_likelihood for sample in samples],
        len({tuple(sample.ids) for sample in samples}),
        share_of_distinct_ngrams([together], 4),
    )


def _entropy_of_kept(scores: torch.Tensor) -> torch.Tensor:
    """Entropy at each step, over the tokens that the filters left: few, of a large vocabulary."""
    kept = scores.topk(int(filters.count_kept(scores).max()), dim=-1).values
    return filters.entropy(filters.log_probabilities(kept))


def p_value_of_larger(larger: Sequence[float], smaller: Sequence[float]) -> float:
    """Probability of such a difference of means, or a larger one, if there were none (Welch).

    >>> p_value_of_larger([3.0, 3.1, 2.9, 3.0], [1.0, 1.1, 0.9, 1.0]) < 1e-6
    True
    >>> p_value_of_larger([1.0, 1.0], [1.0, 1.0])
    1.0
    """
    if len({*larger, *smaller}) == 1:  # the test divides by a spread that is 0
        return 1.0
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


def runs_that_reproduce(
    model: Model, texts: Sequence[Generation], sampling: Sampling, *, runs: int, seed: int
) -> Reproduced:
    """Sample every prompt several times, in batches, and compare with its greedy text.

    Args:
        model: the target.
        texts: greedy texts with their logits, all of one length.
        sampling: how to draw.
        runs: samples a prompt.
        seed: of the draws.
    """
    most = max(1, ROWS_AT_ONCE // len(texts))
    same = 0
    for first in range(0, runs, most):
        drawn = model.generate_batch(
            [text.prompt_ids for text in texts],
            sampling=sampling,
            seed=None if first else seed,  # the later batches go on with the same random numbers
            num_return_sequences=min(most, runs - first),
            max_new_tokens=max(len(text.ids[0]) for text in texts),
        )
        for each, text in zip(drawn, texts, strict=True):
            same += sum(new == text.ids[0] for new in each.ids)
    chances = [probability_of_greedy(text, sampling) for text in texts for _ in range(runs)]
    return Reproduced(
        runs=runs * len(texts),
        reproduced=same,
        expected=sum(chances),
        p_value=poisson_binomial_cdf(same, chances),
    )
