"""Simulate what the tests of draws find, and how many draws they take.

    python -m tests.benchmarks.power [SIMULATIONS]

`docs/methods.md` has the figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from probes.measure import knowledge, variety
from probes.stats.goodness_of_fit import ALPHA, DIFFERENCE_ALPHA, fit_in_parts, p_value_of_fewer
from probes.stats.goodness_of_fit import poisson_binomial_cdf as cdf
from probes.stats.permutation import ALPHA as PAIRED_ALPHA
from probes.stats.permutation import compare_paired

DRAWS = 20_000
"""Tokens that a test of draws plans."""

QUESTIONS = 66
RUNS_OF_GREEDY = 40
PAIRS = 24
ANSWER_LOOKS = len(knowledge.LOOKS) + 1
"""At the bounds, and at the draws."""

Random = np.random.Generator


@dataclass(frozen=True)
class Outcome:
    """One simulated test."""

    found: bool
    draws: int


def compare_answers(random: Random, difference: float) -> Outcome:
    """Compare answers drawn at one setting with the known chances at another.

    At that one half of the questions are answered nearly always.
    """
    known = np.where(np.arange(QUESTIONS) % 2, 0.95, 0.05)
    chances = known * (1 - 2 * difference)
    right, drawn = np.zeros(QUESTIONS), 0
    for look in knowledge.LOOKS:
        right += random.binomial(look - drawn, chances)
        drawn = look
        fewer = p_value_of_fewer(int(right.sum()), drawn * QUESTIONS, float(known.mean()))
        p = max(fewer, compare_paired(known, right / drawn).p_value) * ANSWER_LOOKS
        if p < PAIRED_ALPHA:
            return Outcome(True, drawn * QUESTIONS)
    return Outcome(False, drawn * QUESTIONS)


def compare_texts(random: Random, difference: float) -> Outcome:
    """Compare texts whose entropies and likelihoods differ by so many standard deviations."""
    texts = np.zeros((2, 2, 0))
    for look in variety.LOOKS:
        more = random.normal(size=(2, 2, look * variety.BATCH - texts.shape[-1]))
        more[:, 1] += difference
        texts = np.concatenate([texts, more], axis=-1)
        ps = [variety.p_value_of_larger(each[1], each[0]) * len(variety.LOOKS) for each in texts]
        if max(ps) < DIFFERENCE_ALPHA:
            return Outcome(True, 2 * texts.shape[-1])
    return Outcome(False, 2 * texts.shape[-1])


def count_more_distinct(random: Random, share: float) -> Outcome:
    """Count sampled texts that repeat less than the greedy text of their prompt."""
    more = int(random.binomial(PAIRS, share))
    test = stats.binomtest(more, PAIRS, alternative="greater")
    return Outcome(test.pvalue < DIFFERENCE_ALPHA, PAIRS)


def count_reproductions(random: Random, chance: float) -> Outcome:
    """Count runs that give the greedy text, if 999 of 1,000 should."""
    same = int(random.binomial(RUNS_OF_GREEDY, chance))
    return Outcome(cdf(same, [0.999] * RUNS_OF_GREEDY) < ALPHA, RUNS_OF_GREEDY)


def count_right_answers(random: Random, chance: float) -> Outcome:
    """Count right answers, if each should be right with probability 0.7."""
    right = int(random.binomial(QUESTIONS, chance))
    few = cdf(right, [0.7] * QUESTIONS)
    many = cdf(QUESTIONS - right, [0.3] * QUESTIONS)
    return Outcome(min(few, many) < ALPHA, QUESTIONS)


def draw_tokens(random: Random, sharper: float) -> Outcome:
    """Draw from a law that is sharper by so much than the computed one."""
    logits = np.log(np.arange(1, 65) ** -1.0)
    laws = [np.exp(logits * each) / np.exp(logits * each).sum() for each in (1, 1 + sharper)]
    fit = fit_in_parts(lambda number: random.multinomial(number, laws[1]), laws[0], DRAWS)
    return Outcome(not fit.good, fit.draws)


Simulation = Callable[[Random, float], Outcome]

TABLE: dict[str, tuple[Simulation, str, tuple[float, ...]]] = {
    "answers at two settings": (compare_answers, "difference", (0.0, 0.1, 0.15, 0.2, 0.3)),
    "hot texts": (compare_texts, "standard deviations", (0.0, 0.5, 1.0, 2.0, 3.0)),
    "greedy texts that repeat": (count_more_distinct, "share", (0.5, 0.8, 0.95, 1.0)),
    "runs that give the greedy text": (count_reproductions, "probability", (0.999, 0.9, 0.7)),
    "right answers": (count_right_answers, "probability", (0.7, 0.5, 0.3)),
    "tokens drawn": (draw_tokens, "sharper by", (0.0, 0.05, 0.1)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate what the tests of draws find.")
    parser.add_argument("simulations", type=int, nargs="?", default=200, help="of each row [200]")
    count = parser.parse_args().simulations
    for name, (simulate, what, values) in TABLE.items():
        for value in values:
            random = np.random.default_rng(0)
            found = [simulate(random, value) for _ in range(count)]
            share = np.mean([each.found for each in found])
            draws = np.mean([each.draws for each in found])
            print(f"{name:<32}{what:>20} {value:<6g} found {share:7.2%}  draws {draws:8,.0f}")


if __name__ == "__main__":
    main()
