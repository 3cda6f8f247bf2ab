"""Measure how much sampled texts vary, and how likely the model finds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy import stats

from probes.engines.base import Generation, LogitsEngine, Prompt
from probes.engines.session_cache import once_per_session
from probes.measure.greedy import probabilities_of_greedy
from probes.measure.row_sampling import Sample, sample_texts
from probes.schema.evidence.texts import SampleVariety
from probes.schema.sampling import Sampling
from probes.stats import sampling_reference as reference
from probes.stats.goodness_of_fit import DIFFERENCE_ALPHA, poisson_binomial_cdf
from probes.stats.repetition import share_of_distinct_ngrams
from probes.stats.text_probability import TextDistribution, enumerate_texts

BATCH = 12  # samples of each prompt that are drawn together
DECIMALS = 5  # of means in nats that are compared: rounding moves what comes after
LOOKS = (1, 2, 5)  # batches after which two settings are compared
ROWS_AT_ONCE = 64  # most rows of a batch of runs


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


def combine(samples: Sequence[Sample]) -> Variety:
    """Measure many samples of one prompt.

    >>> combine([Sample([4, 5], "a b", 1.0, -2.0), Sample([4, 6], "a c", 2.0, -3.0)]).distinct_texts
    2
    """
    # One sequence with separators: a 4-gram that two samples share counts as repeated.
    together = [token for sample in samples for token in [*sample.ids, -1]]
    return Variety(
        [sample.text for sample in samples],
        [sample.entropy for sample in samples],
        [sample.log_likelihood for sample in samples],
        len({tuple(sample.ids) for sample in samples}),
        share_of_distinct_ngrams([together], 4),
    )


@dataclass(frozen=True)
class VarietyComparison:
    """Samples of one prompt at two settings; each p-value counts for all looks."""

    first: Variety
    second: Variety
    p_value_of_entropy: float  # of a larger one at the second setting
    p_value_of_log_likelihood: float  # of a smaller one there

    @property
    def decided(self) -> bool:
        """Whether both differences are clear."""
        return max(self.p_value_of_entropy, self.p_value_of_log_likelihood) < DIFFERENCE_ALPHA


@once_per_session
def compare_variety(
    model: LogitsEngine,
    prompts: Sequence[Prompt],
    first: Sampling,
    second: Sampling,
    *,
    length: int,
    seed: int,
) -> list[VarietyComparison]:
    """Compare samples of several prompts at two settings, once a session.

    They are compared after each of `LOOKS` batches; each look has its share of the error rate, and
    the first that decides for every prompt is the last.
    """
    drawn: list[list[list[Sample]]] = [[[] for _ in prompts] for _ in (first, second)]
    found: list[VarietyComparison] = []
    for look in range(max(LOOKS)):
        batch = sample_texts(
            model, prompts, (first, second), samples=BATCH, length=length, seed=seed + look
        )
        for setting, texts in zip((first, second), drawn, strict=True):
            for own, more in zip(texts, batch[setting], strict=True):
                own.extend(more)
        if look + 1 in LOOKS:
            found = [_compare(*map(combine, each)) for each in zip(*drawn, strict=True)]
            if all(each.decided for each in found):
                break
    return found


def _compare(first: Variety, second: Variety) -> VarietyComparison:
    flatter = p_value_of_larger(second.entropies, first.entropies)
    less_likely = p_value_of_larger(first.log_likelihoods, second.log_likelihoods)
    return VarietyComparison(
        first, second, *(min(1.0, p * len(LOOKS)) for p in (flatter, less_likely))
    )


def p_value_of_larger(larger: Sequence[float], smaller: Sequence[float]) -> float:
    """Return the p-value of a larger mean, by Welch's test.

    >>> p_value_of_larger([3.0, 3.1, 2.9, 3.0], [1.0, 1.1, 0.9, 1.0]) < 1e-6
    True
    """
    larger, smaller = (np.round(each, DECIMALS).tolist() for each in (larger, smaller))
    if len({*larger, *smaller}) == 1:  # the test divides by a spread that is 0
        return 1.0
    return float(stats.ttest_ind(larger, smaller, equal_var=False, alternative="greater").pvalue)


@dataclass(frozen=True)
class Reproductions:
    """How many sampled runs gave the greedy text, and how many should."""

    runs: int  # of all prompts together, those included that can give one text alone
    reproduced: int  # runs that gave their prompt's greedy text
    expected: float  # the sum of the exact probabilities
    p_value: float  # probability of at most as many, if those are right


def count_reproductions(
    model: LogitsEngine, texts: Sequence[Generation], sampling: Sampling, *, runs: int, seed: int
) -> Reproductions:
    """Sample every prompt `runs` times, in batches, and compare with its greedy text.

    The greedy texts are of one length and have their logits. Where the library's filters leave one
    token at every step of a first run, it counts for all: no other text can be drawn.
    """
    length = max(len(text.ids[0]) for text in texts)
    first = model.generate_batch(
        [text.prompt_ids for text in texts],
        sampling=sampling,
        seed=seed,
        max_new_tokens=length,
        output_scores=True,
    )
    same, undetermined = 0, []
    for each, text in zip(first, texts, strict=True):
        is_determined = _is_determined(each)
        same += (each.ids[0] == text.ids[0]) * (runs if is_determined else 1)
        if not is_determined:
            undetermined.append(text)
    most = max(1, ROWS_AT_ONCE // max(1, len(undetermined)))
    for done in range(1, runs, most) if undetermined else ():
        sampled = model.generate_batch(
            [text.prompt_ids for text in undetermined],
            sampling=sampling,
            num_return_sequences=min(most, runs - done),  # they continue the random numbers
            max_new_tokens=length,
        )
        for each, text in zip(sampled, undetermined, strict=True):
            same += sum(new == text.ids[0] for new in each.ids)
    chances = [probabilities_of_greedy(text, [sampling])[0] for text in texts] * runs
    return Reproductions(
        runs=runs * len(texts),
        reproduced=same,
        expected=sum(chances),
        p_value=poisson_binomial_cdf(same, chances),
    )


def _is_determined(generation: Generation) -> bool:
    """Return whether the filters left one token at every step of a generation's first text."""
    if generation.scores is None:
        raise ValueError("this generation was made without output_scores")
    kept = reference.count_kept(generation.scores[0, : len(generation.ids[0])])
    return bool((kept == 1).all())
