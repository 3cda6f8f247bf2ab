"""Measure how far a server's sampled texts vary, from the texts and what is listed along them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from scipy import stats

from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, CAPITALS
from probes.engines.session_cache import once_per_session
from probes.errors import UndecidableError
from probes.measure.listed_steps import list_steps
from probes.measure.variety import p_value_of_larger
from probes.schema.sampling import NARROW_HOT, NEAR_GREEDY, WIDE_HOT, Sampling
from probes.stats.goodness_of_fit import DIFFERENCE_ALPHA, poisson_binomial_cdf
from probes.stats.repetition import share_of_distinct_ngrams
from probes.stats.text_probability import Bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.base import Generation
    from probes.measure.listed_steps import ListedStep

TOP = 20
"""Most likely tokens that are listed at each step; vLLM lists no more."""

RUNS = 5
"""Texts that are to differ, or to be the same."""

DRAWN = 40
"""Texts from which it is judged whether five may all be the same."""

COMPARED = 24
"""Texts of each setting that are compared."""


# --- near-greedy ---------------------------------------------------------------------------------


def bound_probability(steps: Sequence[ListedStep], sampling: Sampling, *, first: bool) -> Bounds:
    """Bound the probability that sampling gives a text, from what is listed along it.

    All tokens that are not listed share what is left of the probability; none is likelier than the
    last of the list. `first` is whether the temperature comes before top_p; no other filter is
    looked at.

    >>> from probes.measure.listed_steps import ListedStep
    >>> sure = ListedStep([1, 2], [math.log(0.9), math.log(0.05)], 1, math.log(0.9))
    >>> bound_probability([sure], Sampling(temperature=0.5, top_p=0.2), first=True)
    Bounds(lower=1.0, upper=1.0)
    """
    lower = upper = 1.0
    for step in steps:
        low, high = _bound_step(step, sampling, first=first)
        lower, upper = lower * low, upper * high
    return Bounds(lower, upper)


def _bound_step(step: ListedStep, sampling: Sampling, *, first: bool) -> tuple[float, float]:
    t, p, place = sampling.temperature, sampling.top_p or 1.0, step.place
    if place is None:
        return 0.0, 1.0
    rest = max(0.0, 1 - sum(map(math.exp, step.logprobs)))
    least = math.exp(step.logprobs[-1])
    if not least:  # no other token has a probability
        rest, least = 0.0, 1.0
    # As many unlisted tokens as likely as the last one have the largest sum of powers below 1.
    count = rest / least if t <= 1 else math.inf
    filtered = t if first else 1.0
    weights = [math.exp(value / filtered) for value in step.logprobs]
    unlisted = 0.0 if rest == 0 else count * least ** (1 / filtered)
    bounds = []
    most = sum(weights) + unlisted
    for total in (most, most if filtered == 1 else sum(weights)):
        before = [sum(weights[:n]) / total for n in range(len(weights))]
        kept = [n for n, mass in enumerate(before) if n == 0 or mass < p]
        powers = [math.exp(step.logprobs[n] / t) for n in kept]
        ends = p < 1 and sum(weights[: len(kept)]) / total >= p
        more = 0.0 if ends else count * least ** (1 / t) if rest else 0.0
        own = math.exp(step.logprobs[place] / t) if place in kept else 0.0
        bounds.append((own / (sum(powers) + more), own / sum(powers)))
    return min(low for low, _ in bounds), max(high for _, high in bounds)


@dataclass(frozen=True)
class NearGreedy:
    """A greedy text after one prompt, and what near-greedy sampling gave."""

    prompt: str
    greedy: str
    probability: Bounds
    """That one near-greedy run gives the greedy text."""
    reproduced: int
    """Runs that gave it."""


@dataclass(frozen=True)
class NearGreedyRuns:
    """Near-greedy runs of several prompts."""

    texts: list[NearGreedy]
    p_few: float
    """Probability of at most so many greedy texts, at most."""


@once_per_session
def run_near_greedy(engine: Any, *, seed: int, length: int) -> NearGreedyRuns:
    """Sample near-greedy texts after the prompts about capitals, once a session."""
    prompts = [CAPITAL_OF_JAPAN.replace("Japan", country) for country in CAPITALS]
    greedy = engine.generate_batch(
        prompts, max_new_tokens=length, do_sample=False, top_logprobs=TOP
    )
    drawn = engine.generate_batch(
        prompts,
        sampling=NEAR_GREEDY,
        seed=seed,
        num_return_sequences=RUNS,
        max_new_tokens=length,
    )
    dialect = getattr(engine, "dialect", None)
    first = dialect is None or dialect.temperature_first
    found = [
        NearGreedy(
            prompt,
            text.text,
            bound_probability(list_steps(text), NEAR_GREEDY, first=first),
            sum(each == text.text for each in runs.texts),
        )
        for prompt, text, runs in zip(prompts, greedy, drawn, strict=True)
        if (steps := list_steps(text)) and all(step.shows_others for step in steps)
    ]
    lower = [each.probability.lower for each in found for _ in range(RUNS)]
    count = sum(each.reproduced for each in found)
    return NearGreedyRuns(found, poisson_binomial_cdf(count, lower) if lower else 1.0)


# --- hot -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HotRuns:
    """Texts at a high temperature from a narrow nucleus."""

    texts: int
    distinct: int
    most: int
    """How often the most frequent one came."""
    all_same: float
    """Probability that five are the same, at most: the error rate is `DIFFERENCE_ALPHA`."""


def draw_hot(engine: Any, prompt: str, *, seed: int, length: int) -> HotRuns:
    """Draw narrow-hot texts, and bound the probability that five of them are the same.

    The most likely text came no more often than the most frequent one. So its probability p is not
    larger than the largest for which so few of all are likely enough, and that of five that are the
    same not larger than the fourth power of p.

    >>> from probes import load
    >>> draw_hot(load("embedded"), "Once upon a time,", seed=0, length=10).all_same < 0.01
    True
    """
    drawn = engine.generate(
        prompt, sampling=NARROW_HOT, seed=seed, num_return_sequences=DRAWN, max_new_tokens=length
    )
    counts = Counter(drawn.texts)
    most = max(counts.values())
    is_all = most == DRAWN
    largest = 1.0 if is_all else float(stats.beta.ppf(1 - DIFFERENCE_ALPHA, most + 1, DRAWN - most))
    return HotRuns(DRAWN, len(counts), most, largest**4)


@dataclass(frozen=True)
class HotComparison:
    """Texts from a narrow and from a wide nucleus after one prompt."""

    texts: int
    """Of each, with all log-probabilities."""
    narrow_log_likelihood: float
    wide_log_likelihood: float
    """Mean over the texts and their tokens, at temperature 1, in nats; of a wide nucleus at most,
    where a server does not tell the log-probability of a token that it does not list."""
    narrow_distinct_4_grams: float
    wide_distinct_4_grams: float
    """Share of the texts' 4-grams of tokens that are different."""
    p_value: float
    """Of a smaller likelihood of the wide texts, by Welch's test."""


def compare_hot(engine: Any, prompt: str, *, seed: int, length: int) -> HotComparison | None:
    """Compare texts from a narrow nucleus with those from a wide one, both at one temperature.

    None where the log-probabilities of none of them are listed. Raises UndecidableError where those
    are listed that filters left, or some of a narrow nucleus are not told.

    >>> from probes import load
    >>> found = compare_hot(load("embedded"), "Once upon a time,", seed=0, length=4)
    >>> found.wide_log_likelihood < found.narrow_log_likelihood
    True
    """
    narrow, wide = (
        _list_all(
            engine.generate(
                prompt,
                sampling=sampling,
                seed=seed,
                num_return_sequences=COMPARED,
                max_new_tokens=length,
                top_logprobs=TOP,
            )
        )
        for sampling in (NARROW_HOT, WIDE_HOT)
    )
    if not (narrow and wide):
        return None
    every = [step for text in (*narrow, *wide) for step in text]
    if any(step.is_filtered for step in every):
        raise UndecidableError("it lists log-probabilities after filters, not those of all tokens")
    if any(step.most is None for step in every) or any(
        not step.is_told for text in narrow for step in text
    ):
        raise UndecidableError("it does not tell the log-probabilities of all tokens that it draws")
    likely, unlikely = (
        [mean(step.most or 0.0 for step in text) for text in each] for each in (narrow, wide)
    )
    return HotComparison(
        texts=min(len(narrow), len(wide)),
        narrow_log_likelihood=mean(likely),
        wide_log_likelihood=mean(unlikely),
        narrow_distinct_4_grams=_share_of_distinct(narrow),
        wide_distinct_4_grams=_share_of_distinct(wide),
        p_value=p_value_of_larger(likely, unlikely),
    )


def _share_of_distinct(texts: Sequence[Sequence[ListedStep]]) -> float:
    # A separator: a 4-gram that two texts share counts as repeated.
    return share_of_distinct_ngrams(
        [[hash(token) for text in texts for token in (*(step.token for step in text), "")]], 4
    )


def _list_all(drawn: Generation) -> list[list[ListedStep]]:
    listed = (list_steps(drawn, number) for number in range(len(drawn.texts)))
    return [steps for steps in listed if steps]
