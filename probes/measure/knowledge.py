"""Measure how likely sampling answers questions of fact rightly, and what it answers.

A continuation is right as soon as its first sentence states an accepted answer. It is wrong once
that sentence has ended, or has all its tokens, without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from probes.engines.session_cache import once_per_session
from probes.schema.sampling import GRID, Sampling
from probes.stats import answer_matching
from probes.stats import sampling_reference as reference
from probes.stats.answer_matching import Form, MatchState
from probes.stats.answer_tree import (
    AnswerProbability,
    Match,
    Prefix,
    Step,
    draw_right,
    follow_continuations,
)
from probes.stats.goodness_of_fit import p_value_of_fewer, poisson_binomial_cdf
from probes.stats.permutation import ALPHA, PairedComparison, compare_paired
from probes.stats.text_probability import Bounds

if TYPE_CHECKING:
    import numpy.typing as npt

    from probes.engines.base import LogitsEngine
    from probes.measure.asking import AskedQuestion

    Floats = npt.NDArray[np.float64]

LENGTH = 12  # tokens to state an answer in: enough for a sentence that leads up to it
WIDTH = 256
"""Most prefixes followed a level, over all questions, or two a question: the rows of a pass."""
LOOKS = (1, 3, 9)  # answers drawn to each question after which two settings are compared


# --- probabilities of right answers ---------------------------------------------------------------


def make_match(model: LogitsEngine, keys: Sequence[Sequence[Form]], length: int = LENGTH) -> Match:
    """Return a function that decides continuations by the accepted forms of each question."""
    ends = set(model.eos_token_ids)

    def match(prefix: Prefix) -> MatchState:
        number, ids = prefix
        ended = ids[-1] in ends or len(ids) >= length
        text = model.decode(ids, skip_special_tokens=True)
        return answer_matching.match_answer(text, keys[number], ended=ended)

    return match


def make_step(
    model: LogitsEngine, prompts: Sequence[Sequence[int]], settings: Sequence[Sampling]
) -> Step:
    """Return a function that computes the largest next-token logits, as many as top-k can keep."""
    most = reference.largest_top_k(settings)
    follow = model.follow_branches()

    def step(prefixes: list[Prefix]) -> reference.TopLogits:
        logits = follow([[*prompts[number], *ids] for number, ids in prefixes])
        values, tokens = reference.top_logits(logits, most)
        return values.cpu(), tokens.cpu()

    return step


@once_per_session
def compute_accuracy(model: LogitsEngine, questions: Sequence[AskedQuestion]) -> AnswerProbability:
    """Compute the probability of a right answer over the grid of settings, once a session.

    >>> from probes import load
    >>> from probes.data.questions import built_in_questions
    >>> from probes.measure.asking import ask
    >>> from probes.schema.sampling import NEAR_GREEDY
    >>> model = load("embedded")
    >>> asked = ask(model, built_in_questions()[:2])
    >>> compute_accuracy(model, asked).mean(NEAR_GREEDY).lower > 0.9
    True
    """
    prompts = [model.encode_prompt(question.prompt) for question in questions]
    step = make_step(model, prompts, GRID)
    match = make_match(model, [question.forms for question in questions])
    width = max(WIDTH, 2 * len(prompts))
    return follow_continuations(step, match, len(prompts), GRID, length=LENGTH, width=width)


# --- greedy answers ------------------------------------------------------------------------------


@dataclass(frozen=True)
class GreedyAnswers:
    """Greedy answers to all questions in one form of asking."""

    form: str
    texts: list[str]
    right: list[bool]  # whether each states an accepted answer in its first sentence

    @property
    def share(self) -> float:
        """Return the share of right answers."""
        return sum(self.right) / len(self.right)


@once_per_session
def answer_greedily(
    model: LogitsEngine, forms: Sequence[Sequence[AskedQuestion]]
) -> list[GreedyAnswers]:
    """Answer the same questions greedily in several forms of asking, one batch each.

    >>> from probes import load
    >>> from probes.data.questions import built_in_questions
    >>> from probes.measure.asking import ask_in_all_forms
    >>> model = load("embedded")
    >>> found = answer_greedily(model, ask_in_all_forms(model, built_in_questions()[:3]))
    >>> [each.form for each in found], found[0].right
    (['published', 'chat', 'plain'], [True, True, True])
    """
    answers = []
    for asked in forms:
        prompts = [each.prompt for each in asked]
        reused = model.reuse_prompts(prompts)
        made = model.generate_batch(prompts, max_new_tokens=LENGTH, do_sample=False, **reused)
        texts = [each.text for each in made]
        right = [is_right(text, each.forms) for text, each in zip(texts, asked, strict=True)]
        answers.append(GreedyAnswers(asked[0].form, texts, right))
    return answers


# --- sampled answers -----------------------------------------------------------------------------


@dataclass(frozen=True)
class SampledAnswers:
    """Answers sampled through `generate`, one a question, and what was computed."""

    texts: list[str]
    right: list[bool]  # whether each states an accepted answer in its first sentence
    by_other_keys: float  # share that would be right by the answers to other questions
    expected: Bounds  # bounds of the number of right ones
    p_few: float  # probability of at most as many right ones, at most
    p_many: float  # probability of at least as many right ones, at most


@once_per_session
def sample_answers(
    model: LogitsEngine, questions: Sequence[AskedQuestion], sampling: Sampling, seed: int
) -> SampledAnswers:
    """Sample an answer to every question at a setting of the grid, and judge it, once a session."""
    computed = compute_accuracy(model, questions)
    prompts = [question.prompt for question in questions]
    generations = model.generate_batch(
        prompts,
        sampling=sampling,
        seed=seed,
        max_new_tokens=LENGTH,
        **model.reuse_prompts(prompts),
    )
    texts = [generation.text for generation in generations]
    right = [is_right(text, q.forms) for text, q in zip(texts, questions, strict=True)]
    others = [
        is_right(text, other.forms)
        for text, own in zip(texts, questions, strict=True)
        for other in questions
        if not set(own.forms) & set(other.forms)
    ]
    lower, upper = computed.lower(sampling), computed.upper(sampling)
    return SampledAnswers(
        texts,
        right,
        by_other_keys=sum(others) / max(1, len(others)),
        expected=Bounds(float(lower.sum()), float(upper.sum())),
        p_few=poisson_binomial_cdf(sum(right), lower.tolist()),
        p_many=poisson_binomial_cdf(len(right) - sum(right), (1 - upper).tolist()),
    )


def is_right(text: str, forms: Sequence[Form]) -> bool:
    """Return whether the first sentence of a whole text states an accepted answer."""
    return answer_matching.match_answer(text, forms, ended=True) is MatchState.RIGHT


@once_per_session
def compare_settings(
    model: LogitsEngine,
    questions: Sequence[AskedQuestion],
    first: Sampling,
    second: Sampling,
    seed: int,
) -> PairedComparison:
    """Test whether the first setting answers better than the second; both are of the grid.

    The least that the first can answer is compared with the most that the second can. Where this
    does not decide, answers at the second are drawn from the computed law. After each of `LOOKS`
    two tests have to find them worse than the least of the first: that of the number of right ones
    for these questions, and that of pairs for others of their kind. Each look has its share of the
    error rate, and the first that decides is the last.
    """
    computed = compute_accuracy(model, questions)
    least, looks = computed.lower(first), len(LOOKS) + 1
    found = _for_looks(compare_paired(least, computed.upper(second)), looks)
    if found.p_value < ALPHA:
        return found
    prompts = [model.encode_prompt(question.prompt) for question in questions]
    step = make_step(model, prompts, [second])
    match = make_match(model, [question.forms for question in questions])
    generator = torch.Generator().manual_seed(seed)
    right = np.zeros(len(prompts))
    at_once = max(1, WIDTH // len(prompts))
    for before, runs in pairwise((0, *LOOKS)):
        for done in range(before, runs, at_once):
            right += draw_right(
                step,
                match,
                len(prompts),
                second,
                runs=min(at_once, runs - done),
                length=LENGTH,
                generator=generator,
            )
        found = compare_paired(least, right / runs, by=f"draws, {runs} a question")
        fewer = p_value_of_fewer(int(right.sum()), runs * len(prompts), float(least.mean()))
        found = _for_looks(replace(found, p_value=max(found.p_value, fewer)), looks)
        if found.p_value < ALPHA:
            break
    return found


def _for_looks(found: PairedComparison, looks: int) -> PairedComparison:
    return replace(found, p_value=min(1.0, found.p_value * looks))
