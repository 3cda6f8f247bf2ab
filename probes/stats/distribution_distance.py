"""How far a model's next-token distributions are from a reference's, in llama.cpp's terms.

A quantized model and its reference read the same texts. At each scored position this takes the KL
divergence, the change of the probability of the token that follows, whether both find the same
token most likely, and the logarithm of the ratio of perplexities.

**Intervals.** Positions of one context window depend on each other, so windows are the units. A
mean has Student's interval over the windows' means; where there are several texts, each is a
stratum: the variance is that of windows within texts, with Satterthwaite's degrees of freedom. A
share has the interval of Korn and Graubard: Clopper and Pearson's, for the number of independent
positions that have the variance seen between windows, never more than there are. A percentile has
Woodruff's: the percentiles at both ends of the interval of the share of positions below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from probes.schema.evidence.shape import Interval

Floats = npt.NDArray[np.float64]

Windows = Sequence[Sequence[Floats]]
"""Values of positions: of each text its windows, all equally long."""

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2

LARGEST_DIFFERENCE = 40.0
"""Of two logits, whose exponential float32 holds with room for sums: a broken model has larger."""

ROUNDED = 1e-6
"""By how much a sum of listed probabilities, computed in float32, may be off at least."""

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True)
class Distances:
    """What is measured at each position of a window: arrays of (positions,), float64."""

    divergence: Floats
    """KL divergence of the model from the reference, in nats."""
    probability_change: Floats
    """Of the token that follows in the text: the model's less the reference's."""
    same_top: Floats
    """1 where both find the same token most likely, else 0."""
    log_ratio: Floats
    """Log-probability of the token that follows: the reference's less the model's, in nats."""


def compare_logits(
    reference: torch.Tensor, model: torch.Tensor, next_ids: torch.Tensor
) -> Distances:
    """Compare the logits of both after each position: (positions, vocabulary).

    >>> one, other = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]])
    >>> found = compare_logits(one, other, torch.tensor([0]))
    >>> found.divergence.round(4).tolist(), found.probability_change.round(4).tolist()
    ([0.1438], [0.25])
    """
    difference = reference - model
    if max(map(abs, map(float, difference.aminmax()))) > LARGEST_DIFFERENCE:
        reference, difference = reference.double(), difference.double()
    shares, top = reference.softmax(dim=1), _find_top(reference)
    mean = (shares * difference).sum(dim=1)
    places = next_ids[:, None]
    at_next = difference.gather(1, places).squeeze(1).double()
    # The divergence is log E[exp(mean - difference)], in float32 exact to a share of itself: a
    # difference of two logarithms of probabilities is not, where the models are almost equal.
    spread = difference.neg_().add_(mean[:, None]).expm1_().mul_(shares).sum(dim=1)
    divergence = spread.double().log1p().clamp_min(0.0)
    # The most likely token's share says what the others are divided by.
    most = shares.gather(1, top).squeeze(1).double().log()
    before = (reference.gather(1, places) - reference.gather(1, top)).squeeze(1).double() + most
    # What the sums over the vocabulary differ by is known from the same mean.
    moved = at_next - mean + divergence
    return Distances(
        divergence=divergence.numpy(),
        probability_change=((before - moved).exp() - before.exp()).numpy(),
        same_top=(top == _find_top(model)).squeeze(1).double().numpy(),
        log_ratio=moved.numpy(),
    )


def _find_top(logits: torch.Tensor) -> torch.Tensor:
    """Return the most likely token of each row, (rows, 1): numpy takes a tenth of torch's time."""
    return torch.from_numpy(logits.numpy().argmax(axis=1))[:, None]


def least_divergence(
    listed: Sequence[float], reference: Sequence[float], rounded: float = ROUNDED
) -> float:
    """Return the least KL divergence that log-probabilities of some tokens leave possible.

    `listed` are a model's, `reference` the reference's of the same tokens. All others count as one:
    merging tokens never makes a divergence larger. `rounded` is by how much a sum of listed
    probabilities may be off, as `measure_excess` finds it.

    >>> half, quarter = math.log(0.5), math.log(0.25)
    >>> round(least_divergence([half, quarter], [quarter, quarter]), 4)
    0.1733
    """
    p = np.exp(np.asarray(reference))
    rest = max(1e-12, 1.0 - float(p.sum()))
    inside = float((p * (np.asarray(reference) - np.asarray(listed))).sum())
    return max(0.0, inside + rest * math.log(rest / most_of_rest(listed, rounded)))


def least_change(
    listed: Mapping[int, float], next_id: int, reference: float
) -> tuple[float, float]:
    """Return by how little a following token's probability changes, and the ratio's logarithm.

    `listed` are a model's log-probabilities, `reference` the reference's of that token. One that is
    not listed is no more likely than the least that is, and than all others together; the ratio of
    its probabilities is NaN.

    >>> listed = {5: math.log(0.5), 7: math.log(0.2)}
    >>> [round(each, 3) for each in least_change(listed, 7, math.log(0.3))]
    [-0.1, 0.405]
    >>> [round(least_change(listed, 9, math.log(p))[0], 3) for p in (0.3, 0.1)]
    [-0.1, 0.0]
    """
    if next_id in listed:
        return math.exp(listed[next_id]) - math.exp(reference), reference - listed[next_id]
    most = min(math.exp(min(listed.values())), most_of_rest([*listed.values()]))
    return min(0.0, most - math.exp(reference)), math.nan


def measure_excess(lists: Iterable[Sequence[float]]) -> float:
    """Return by how much the probabilities of some lists sum to more than 1: what is off in them.

    llama.cpp's sum to up to 1.0002.

    >>> round(measure_excess([[math.log(0.75)], [math.log(0.75), math.log(0.26)]]), 4)
    0.01
    """
    sums = [float(np.exp(np.asarray(listed)).sum()) for listed in lists]
    return max([ROUNDED, *(each - 1.0 for each in sums)])


def most_of_rest(listed: Sequence[float], rounded: float = ROUNDED) -> float:
    """Return the largest probability that tokens which are not listed may have together.

    >>> most_of_rest([math.log(0.75)]) - 0.25 <= ROUNDED
    True
    """
    return max(0.0, 1.0 - float(np.exp(np.asarray(listed)).sum())) + rounded


# --- intervals over windows ----------------------------------------------------------------------


def estimate_mean(values: Windows) -> Interval | None:
    """Return the mean of all positions with its interval; None where a text has one window.

    >>> windows = [[np.array([1.0, 2.0]), np.array([3.0, 4.0])]]
    >>> found = estimate_mean(windows)
    >>> found.value, round(found.low, 1), round(found.high, 1)
    (2.5, -10.2, 15.2)
    """
    error, freedom = _standard_error(values)
    if not freedom:
        return None
    mean = float(_all(values).mean())
    reach = float(stats.t.ppf(1 - TAIL, freedom)) * error
    return Interval(value=mean, low=mean - reach, high=mean + reach)


def estimate_root(squares: Windows) -> Interval | None:
    """Return the root of a mean of squares with its interval.

    >>> estimate_root([[np.array([4.0]), np.array([4.0])]]).high
    2.0
    """
    return _transform(estimate_mean(squares), lambda mean: math.sqrt(max(0.0, mean)))


def estimate_ratio(log_ratios: Windows) -> Interval | None:
    """Return the ratio of two perplexities from the logarithms of ratios of probabilities.

    >>> estimate_ratio([[np.array([0.0]), np.array([0.0])]]).value
    1.0
    """
    return _transform(estimate_mean(log_ratios), lambda mean: math.exp(min(mean, 700.0)))


def estimate_share(hits: Windows) -> Interval | None:
    """Return the share of positions that are 1 with its interval; None where a text has one window.

    >>> found = estimate_share([[np.ones(100), np.ones(100)]])
    >>> found.value, found.low < 0.9, found.high
    (1.0, True, 1.0)
    """
    count = count_independent(hits)
    if count is None:
        return None
    share = float(_all(hits).mean())
    return Interval(
        value=share, low=_bound(share, count, TAIL), high=_bound(share, count, 1 - TAIL)
    )


def estimate_percentile(values: Windows, percent: float) -> Interval | None:
    """Return a percentile with its interval; None where there are too few positions or windows.

    They are too few where even the largest value of as many independent positions lies below the
    true percentile with a probability of more than 2.5 %: there is no upper end then, or no lower.
    99.9 needs 3,688 independent positions, 99 needs 368.

    >>> draws = np.random.default_rng(0).random((8, 200))
    >>> estimate_percentile([list(draws)], 99.9) is None
    True
    >>> found = estimate_percentile([list(draws)], 50)
    >>> found.low < 0.5 < found.high
    True
    """
    pooled, share = _all(values), percent / 100
    at = float(np.percentile(pooled, percent))
    count = count_independent([[(each <= at).astype(np.float64) for each in t] for t in values])
    if count is None or max(share, 1 - share) ** count > TAIL:
        return None
    ends = [_bound(share, count, tail) for tail in (TAIL, 1 - TAIL)]
    low, high = np.quantile(pooled, ends)
    return Interval(value=at, low=float(low), high=float(high))


def count_independent(hits: Windows) -> float | None:
    """Return how many independent positions would give a share as precise as these; at most all.

    The precision is that of Student's interval over windows.
    """
    error, freedom = _standard_error(hits)
    if not freedom:
        return None
    pooled = _all(hits)
    size, share = len(pooled), float(pooled.mean())
    widened = float(stats.t.ppf(1 - TAIL, size - 1) / stats.t.ppf(1 - TAIL, freedom)) ** 2
    counted = share * (1 - share) / error**2 if error else float(size)
    return min(float(size), counted) * min(1.0, widened)


def error_over_positions(values: Windows) -> float:
    """Return the standard error of a mean as if positions were independent: llama.cpp's.

    >>> error_over_positions([[np.array([1.0, 3.0])]])
    1.0
    """
    pooled = _all(values)
    return float(pooled.std(ddof=1) / math.sqrt(len(pooled)))


def _all(values: Windows) -> Floats:
    return np.concatenate([window for text in values for window in text])


def _standard_error(values: Windows) -> tuple[float, float]:
    """Return the mean's standard error over windows, and its degrees of freedom; 0 for none."""
    total = sum(len(text) for text in values)
    parts, squares = [], 0.0
    for text in values:
        if len(text) < 2:
            return 0.0, 0.0
        means = np.array([window.mean() for window in text])
        part = (len(text) / total) ** 2 * float(means.var(ddof=1)) / len(text)
        parts.append(part)
        squares += part**2 / (len(text) - 1)
    variance = sum(parts)
    freedom = variance**2 / squares if squares else float(total - len(values))
    return math.sqrt(variance), freedom


def _bound(share: float, count: float, probability: float) -> float:
    """Return an end of Clopper and Pearson's interval of a share among so many."""
    hits = share * count
    if probability < 0.5:
        return float(stats.beta.ppf(probability, hits, count - hits + 1)) if hits > 0 else 0.0
    return float(stats.beta.ppf(probability, hits + 1, count - hits)) if hits < count else 1.0


def _transform(found: Interval | None, change: Callable[[float], float]) -> Interval | None:
    if found is None:
        return None
    return Interval(value=change(found.value), low=change(found.low), high=change(found.high))


# --- answers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairedAnswers:
    """Answers of two models to the same questions, right or wrong."""

    questions: int
    lost: int  # right from the first, wrong from the second
    won: int  # the other way round
    p_value: float  # exact test of McNemar, two-sided
    shown: float | None  # the smallest rate of answers lost that the test shows with 95 %


def compare_answers(first: Sequence[bool], second: Sequence[bool]) -> PairedAnswers:
    """Compare two models' answers by the questions on which they differ.

    >>> found = compare_answers([True] * 60 + [False] * 6, [True] * 54 + [False] * 12)
    >>> found.lost, found.won, found.p_value, round(found.shown, 3)
    (6, 0, 0.03125, 0.153)
    """
    lost = sum(a and not b for a, b in zip(first, second, strict=True))
    won = sum(b and not a for a, b in zip(first, second, strict=True))
    p_value = float(stats.binomtest(lost, lost + won).pvalue) if lost + won else 1.0
    return PairedAnswers(len(first), lost, won, p_value, smallest_shown(len(first)))


def smallest_shown(questions: int) -> float | None:
    """Return the smallest share of answers lost, none won, that McNemar's test shows at 5 %.

    With a probability of 95 %: as many must be lost as make the two-sided p-value less than 0.05,
    which are 6. None where even losing all is not enough.

    >>> smallest_shown(5) is None
    True
    """
    needed = math.ceil(1 - math.log2(1 - CONFIDENCE) + 1e-9)
    if questions < needed:
        return None
    # At least `needed` of `questions` are lost with a probability of 95 % at this rate.
    return float(stats.beta.ppf(CONFIDENCE, needed, questions - needed + 1))
