"""Compare the library's temperature, top-k, top-p and min-p with their reference definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from scipy import stats

from probes.engines.session_cache import once_per_session
from probes.engines.transformers import warpers
from probes.measure.greedy import step_logits
from probes.schema.evidence.distributions import EntropyCurve, NucleusSizes
from probes.schema.sampling import UNPENALIZED, Sampling
from probes.stats import sampling_reference as reference

if TYPE_CHECKING:
    from probes.engines.base import Generation, LogitsEngine, Prompt

EDGE = 1e-5  # how near to a filter's edge, in probability, float32 sums cannot tell the sides apart

TEMPERATURES = (0.2, 0.4, 0.7, 1.0, 1.4, 1.6, 2.5, 4.0)


# --- a sampled text and the filters that it was sampled through ----------------------------------


@dataclass(frozen=True)
class ScoredSample:
    """A text sampled through `generate`, and what it was sampled from."""

    ids: list[int]
    text: str
    logits: torch.Tensor  # (tokens, vocabulary), float32, of the model
    scores: torch.Tensor  # the same after the library's filters


@once_per_session
def sample_with_scores(
    model: LogitsEngine, prompt: Prompt, length: int, seed: int, **arguments: Any
) -> ScoredSample:
    """Sample a text through `generate`, with its arguments for sampling, once a session.

    >>> from probes import load
    >>> prompt = "The capital of Japan is"
    >>> text = sample_with_scores(load("embedded"), prompt, 3, seed=0, top_k=5)
    >>> int(text.scores[0].isfinite().sum())
    5
    """
    generation = model.generate(
        prompt,
        seed=seed,
        max_new_tokens=length,
        do_sample=True,
        output_logits=True,
        output_scores=True,
        **(UNPENALIZED | arguments),
    )
    if generation.logits is None or generation.scores is None:
        raise ValueError("generate returned no logits or no scores")
    new = generation.ids[0]
    logits, scores = (each[0, : len(new)] for each in (generation.logits, generation.scores))
    return ScoredSample(new, generation.text, logits, scores)


def probability_kept(sample: ScoredSample, temperature: float) -> float:
    """Return the share of the tempered distribution that the filters kept at the first step."""
    tempered = reference.temperature(sample.logits[0].double(), temperature)
    return float(tempered.softmax(dim=-1)[sample.scores[0].isfinite()].sum())


@dataclass(frozen=True)
class FilterStep:
    """What the library's filters kept of the logits at one step, and what they should."""

    kept: int  # tokens the library kept
    fewest: int  # fewest the reference keeps: top_p lower, min_p higher, by what rounding explains
    most: int  # most it keeps: top_p higher, min_p lower, by the same
    likeliest: bool  # whether no dropped token is likelier than a kept one
    largest_error: float  # of a kept score, relative to the largest tempered logit

    @property
    def as_expected(self) -> bool:
        """Whether the library followed the settings, to within rounding."""
        return not self.describe_errors()

    def describe_errors(self) -> str:
        """Describe where the library did not follow the settings; empty if it did.

        >>> step = FilterStep(kept=6, fewest=5, most=5, likeliest=True, largest_error=0.0)
        >>> step.describe_errors()
        'tokens kept: 6, not 5'
        """
        right = str(self.fewest) if self.fewest == self.most else f"{self.fewest} to {self.most}"
        wrong = []
        if not self.fewest <= self.kept <= self.most:
            wrong.append(f"tokens kept: {self.kept}, not {right}")
        if not self.likeliest:
            wrong.append("a dropped token is likelier than a kept one")
        if not self.largest_error < EDGE:
            wrong.append(f"a score is off by {self.largest_error:.2g} of the largest")
        return "; ".join(wrong)


def compare_filters(
    logits: torch.Tensor, scores: torch.Tensor, sampling: Sampling
) -> list[FilterStep]:
    """Compare filtered scores with what the reference makes of the same logits.

    Both are (steps, vocabulary), with -inf for a dropped token. The library may drop any of several
    equally likely tokens. The edges move by EDGE, and that of top-p by the error of a float32 sum
    of these probabilities against float64, too: over thousands of equal tokens it exceeds the
    probability of one.

    >>> logits = torch.tensor([[3.0, 2.0, 1.0]])
    >>> scores = torch.tensor([[3.0, 2.0, -torch.inf]])
    >>> compare_filters(logits, scores, Sampling(top_k=2))[0].as_expected
    True
    """
    tempered = reference.temperature(logits, sampling.temperature)
    candidates = _sort_candidates(tempered, sampling)
    sums = 0.0 if sampling.top_p is None else _measure_summation_error(candidates)
    fewest, most = (
        reference.count_kept(reference.apply_filters(candidates, _move_edges(sampling, sign, sums)))
        for sign in (-1, 1)
    )
    keep = scores.isfinite()
    least_kept = tempered.masked_fill(~keep, torch.inf).amin(dim=-1)
    most_dropped = tempered.masked_fill(keep, -torch.inf).amax(dim=-1)
    scale = tempered.masked_fill(~keep, 0.0).abs().amax(dim=-1).clamp_min(1.0)
    error = (scores - tempered).masked_fill(~keep, 0.0).abs().amax(dim=-1) / scale
    columns = (keep.sum(dim=-1), fewest, most, least_kept >= most_dropped, error)
    return [FilterStep(*step) for step in zip(*(each.tolist() for each in columns), strict=True)]


def _sort_candidates(tempered: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Return what top-p and min-p choose from, the most likely first: (steps, candidates).

    Which token is which does not count: one sort serves all that is asked of them, and none is
    needed where neither filter is set.
    """
    left = reference.apply_filters(tempered, Sampling(top_k=sampling.top_k))
    if sampling.top_p is None and sampling.min_p is None:
        return left
    most = max(1, int(reference.count_kept(left).max()))
    return left.topk(most, dim=-1).values


def _measure_summation_error(candidates: torch.Tensor) -> float:
    """Measure how far float32 sums of the probabilities that top-p adds up are from float64's."""
    ascending = candidates.float().flip(-1)
    sums = ascending.softmax(dim=-1).cumsum(dim=-1)
    exact = ascending.double().softmax(dim=-1).cumsum(dim=-1)
    return float((sums - exact).abs().amax())


def _move_edges(sampling: Sampling, sign: int, sums: float) -> Sampling:
    """Move both masses by EDGE, top-p's by `sums` too: fewer tokens are kept if `sign` is -1.

    Of temperature and top-k nothing is left to do.
    """
    top_p, min_p = sampling.top_p, sampling.min_p
    return Sampling(
        top_k=0,
        top_p=None if top_p is None else min(max(top_p + sign * (EDGE + sums), 1e-12), 1.0),
        min_p=None if min_p is None else min(max(min_p - sign * EDGE, 0.0), 1.0),
    )


# --- top-p ---------------------------------------------------------------------------------------


class Nuclei(NucleusSizes):
    """Nucleus sizes and entropies of the steps of greedy texts, by the library's own filter."""

    rank_correlation: float
    """Spearman's, between the two."""

    @property
    def entropy_range(self) -> float:
        """Interquartile range of the entropies, in nats: one odd step does not count."""
        return float(stats.iqr(self.entropies))


def measure_nuclei(texts: Sequence[Generation], p: float) -> Nuclei:
    """Measure nucleus sizes along texts with logits, from the lowest entropy to the highest.

    >>> from probes import load
    >>> from probes.measure.greedy import generate_greedy
    >>> texts = generate_greedy(load("embedded"), ["The capital of Japan is"], 20)
    >>> measure_nuclei(texts, 0.9).rank_correlation > 0
    True
    """
    logits = torch.cat([step_logits(text) for text in texts])
    entropies = reference.entropy(reference.log_probabilities(logits))
    order = entropies.argsort()
    sizes = reference.count_kept(warpers.top_p(logits, p))[order]
    correlation = stats.spearmanr(entropies[order].numpy(), sizes.numpy()).statistic
    return Nuclei(
        p=p,
        entropies=entropies[order].tolist(),
        sizes=sizes.tolist(),
        rank_correlation=float(correlation),
    )


# --- temperature ---------------------------------------------------------------------------------


class TemperatureEffect(EntropyCurve):
    """How a distribution changes with the temperature, by the library's own filter."""

    ranking_changes: int
    """Tokens whose rank differs between the raw logits and any temperature, ties left out."""
    cold: float
    """A temperature so low that the second token is e^40 times less likely than the first."""
    greedy_share_when_cold: float
    """Probability of the most likely token, and its ties, there."""
    hot: float
    """A temperature a million times the logits' spread."""
    distance_from_uniform_when_hot: float
    """Largest deviation from 1 / vocabulary there, relative to it."""

    expected_rises: list[float]
    """Rise of the entropy from each temperature to the next, by the reference, in nats."""
    entropy_errors: list[float]
    """What rounding may change each rise by: see `entropy_error`."""

    @property
    def distinct_rises(self) -> int:
        """How many rises are larger than rounding.

        0 where one token has nearly all the probability, or all have nearly the same.
        """
        pairs = zip(self.expected_rises, self.entropy_errors, strict=True)
        return sum(rise > error for rise, error in pairs)

    @property
    def rises(self) -> bool:
        """Whether no entropy falls beyond rounding, and each rise larger than that is found."""
        found = [b - a for a, b in pairwise(self.entropies)]
        return all(
            rise > 0 if expected > error else rise >= -error
            for rise, expected, error in zip(
                found, self.expected_rises, self.entropy_errors, strict=True
            )
        )


def measure_temperature_effect(logits: torch.Tensor) -> TemperatureEffect:
    """Apply a grid of temperatures, a very low and a very high one to a distribution.

    The logits, (vocabulary,), are not all equal; tokens at -inf are left out.

    >>> found = measure_temperature_effect(torch.tensor([1.0, 2.0, 4.0]))
    >>> found.rises, found.ranking_changes
    (True, 0)
    """
    logits = logits[logits.isfinite()].double()
    first = logits.max()
    second = logits[logits < first].max()  # in half precision the two best may tie
    cold = float(first - second) / 40
    hot = 1e6 * float(first - logits.min())

    def apply(temperature: float) -> torch.Tensor:
        return warpers.temperature(logits.unsqueeze(0), temperature)[0]

    def entropy(scores: torch.Tensor) -> float:
        return float(reference.entropy(scores.log_softmax(dim=-1)))

    tempered = [apply(temperature) for temperature in TEMPERATURES]
    expected = [entropy(reference.temperature(logits, t)) for t in TEMPERATURES]
    errors = [entropy_error(h, logits / t) for h, t in zip(expected, TEMPERATURES, strict=True)]
    return TemperatureEffect(
        temperatures=[*TEMPERATURES],
        entropies=[entropy(x) for x in tempered],
        expected_rises=[b - a for a, b in pairwise(expected)],
        entropy_errors=[a + b for a, b in pairwise(errors)],
        ranking_changes=sum(_count_ranking_changes(logits, x) for x in tempered),
        cold=cold,
        greedy_share_when_cold=float(apply(cold).softmax(dim=-1)[logits == first].sum()),
        hot=hot,
        distance_from_uniform_when_hot=float(
            (apply(hot).softmax(dim=-1) * len(logits) - 1).abs().max()
        ),
    )


def entropy_error(entropy: float, logits: torch.Tensor) -> float:
    """Return how far rounding may move an entropy computed in float64, in nats.

    Each log-probability is off by a rounding error of the logits' spread, and so is the logarithm
    of the sum over all n tokens by n at most. Each term of the entropy has that relative error,
    and the probability next to 1 an absolute one of `eps`. The smallest fault seen is a rise that
    is missing: on rows of 32,000 tokens from 1e-10 nats on.

    >>> entropy_error(0.7, torch.zeros(32_000)) < 1e-10
    True
    """
    eps = torch.finfo(torch.float64).eps
    spread = float(logits.max() - logits.min())
    return eps * ((len(logits) + spread) * entropy + 1)


def _count_ranking_changes(logits: torch.Tensor, tempered: torch.Tensor) -> int:
    """Count the tokens that rank below one that was less likely before."""
    in_order = tempered[logits.argsort(descending=True, stable=True)]
    return int((in_order[1:] > in_order[:-1]).sum())
