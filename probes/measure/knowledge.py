"""What a model knows: the probability that sampling answers a question rightly, with bounds.

The network's logits do not depend on the sampling settings. So the continuations of all questions
are followed once, in one tree: a forward pass takes prefixes of every question together, and each
setting is then evaluated on the same logits by arithmetic alone.

What is computed is the probability that the first sentence which `generate` draws, within `LENGTH`
tokens, states an accepted answer. A continuation is right once it states one, whatever follows. It
is wrong once that sentence has ended, or has all its tokens, without. What was not followed to
either lies between the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import stats

from probes.data.questions import Question
from probes.engines.session_cache import once_per_session
from probes.schema.sampling import GRID, LIBRARY_TOP_K, Sampling
from probes.stats import sampling_reference as filters
from probes.stats.answer_matching import Form, MatchState, match_answer
from probes.stats.goodness_of_fit import poisson_binomial_cdf
from probes.stats.text_probability import Bounds

if TYPE_CHECKING:
    import numpy.typing as npt

    from probes.engines.base import LogitsEngine as Model

    Floats = npt.NDArray[np.float64]

LENGTH = 12
"""Tokens within which an answer must be stated: room for a sentence that leads up to it."""

WIDTH = 256
"""Most prefixes followed a level, over all questions: the rows of a forward pass."""

LEAST = 1e-6
"""A continuation less likely than this under every setting is not looked at."""

RESAMPLES = 9999
"""Of a permutation test and of an interval; no p-value is below one over one more than this."""

ALPHA = 0.001
"""The p-value below which two settings count as different, whatever the questions asked."""

RUNS = 8
"""Answers drawn to each question where bounds leave open which setting answers better."""

SEED = 20231010
"""Of permutation tests and intervals: the same probabilities always give the same p-value."""

Prefix = tuple[int, tuple[int, ...]]
"""The number of a prompt, and token ids that continue it."""

Likeliest = tuple[torch.Tensor, torch.Tensor]
"""Logits, (prefixes, kept), and the tokens they belong to; -inf fills the shorter rows."""

Step = Callable[[list[Prefix]], Likeliest]
Judge = Callable[[Prefix], MatchState]


# --- following continuations ---------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How likely each prompt is continued rightly under each setting.

    Attributes:
        right: (settings, prompts), float64, mass of the continuations that are right.
        wrong: the same of those that are wrong; what is missing from 1 was not followed.
    """

    right: Floats
    wrong: Floats

    @property
    def upper(self) -> Floats:
        """The most that can be right: (settings, prompts)."""
        return np.maximum(self.right, 1 - self.wrong)


def follow(
    step: Step,
    judge: Judge,
    prompts: int,
    settings: Sequence[Sampling],
    *,
    length: int,
    width: int,
    least: float = LEAST,
) -> Outcome:
    """Follow the continuations of several prompts under several settings in one tree.

    At each level the `width` prefixes with the most mass under any setting are followed.

    Args:
        step: likeliest next tokens after prefixes, all that any setting keeps.
        judge: what is known of a continuation; one of `length` tokens is not open.
        prompts: how many there are.
        settings: how to draw.
        length: tokens of a continuation that has not ended.
        width: most prefixes to follow a level; the prompts themselves are always followed.
        least: continuations below this mass under every setting are not judged.

    >>> def coin(prefixes):
    ...     return torch.zeros(len(prefixes), 2), torch.tensor([[0, 1]] * len(prefixes))
    >>> heads = lambda prefix: MatchState.RIGHT if prefix[1][-1] == 1 else MatchState.OPEN
    >>> found = follow(coin, heads, 1, [Sampling()], length=3, width=9)
    >>> found.right.tolist(), found.upper.tolist()
    ([[0.875]], [[1.0]])
    """
    sums = {fate: torch.zeros(len(settings), prompts, dtype=torch.float64) for fate in MatchState}
    prefixes: list[Prefix] = [(number, ()) for number in range(prompts)]
    masses = torch.ones(len(settings), prompts, dtype=torch.float64)
    for _ in range(length):
        if not prefixes:
            break
        logits, tokens = step(prefixes)
        chances = torch.stack([filters.log_probabilities(logits, s).exp() for s in settings])
        joint = masses.unsqueeze(-1) * chances
        rows, places = (joint.amax(dim=0) > least).nonzero(as_tuple=True)
        values = joint[:, rows, places]
        grown = [
            (prefixes[row][0], (*prefixes[row][1], token))
            for row, token in zip(rows.tolist(), tokens[rows, places].tolist(), strict=True)
        ]
        fates = [judge(prefix) for prefix in grown]
        for fate, total in sums.items():
            judged_so = [i for i, found in enumerate(fates) if found is fate]
            owners = torch.tensor([grown[i][0] for i in judged_so], dtype=torch.long)
            total.index_add_(1, owners, values[:, judged_so])
        going = [i for i, fate in enumerate(fates) if fate is MatchState.OPEN]
        order = values[:, going].amax(dim=0).argsort(descending=True, stable=True)[:width]
        going = [going[i] for i in order.tolist()]
        prefixes, masses = [grown[i] for i in going], values[:, going]
    return Outcome(sums[MatchState.RIGHT].numpy(), sums[MatchState.WRONG].numpy())


@dataclass
class Reader:
    """Reads continuations: their texts grow token by token, as decoding all anew is slow.

    Attributes:
        model: whose tokenizer decodes.
    """

    model: Model
    _pieces: dict[int, str] = field(default_factory=dict)
    _texts: dict[tuple[int, ...], str] = field(default_factory=lambda: {(): ""})

    def text(self, ids: tuple[int, ...]) -> str:
        """The text of token ids, special tokens left out, the space in front kept.

        >>> from probes import load
        >>> model = load("embedded")
        >>> Reader(model).text(tuple(model.encode("Tokyo.", add_special_tokens=False)))
        ' Tokyo.'
        """
        if ids not in self._texts:
            text = self.text(ids[:-1]) + self._piece(ids[-1])
            if "\N{REPLACEMENT CHARACTER}" in text:  # a character of several tokens
                text = self.model.decode(ids, skip_special_tokens=True)
            self._texts[ids] = text
        return self._texts[ids]

    def _piece(self, token: int) -> str:
        """What a token adds to a text, seen behind a letter."""
        if token not in self._pieces:
            behind = self.model.encode("a", add_special_tokens=False)
            start = self.model.decode(behind, skip_special_tokens=True)
            text = self.model.decode([*behind, token], skip_special_tokens=True)
            self._pieces[token] = text[len(start) :]
        return self._pieces[token]


def judge_of(model: Model, keys: Sequence[Sequence[Form]], length: int = LENGTH) -> Judge:
    """Tells of continuations whether they answer their question rightly.

    Args:
        model: whose tokenizer decodes, and whose end ids end a text.
        keys: the accepted forms of each question, in the order of the prompts.
        length: tokens at which a text is cut.
    """
    reader, ends = Reader(model), set(model.eos_token_ids)

    def judge(prefix: Prefix) -> MatchState:
        number, ids = prefix
        ended = ids[-1] in ends or len(ids) >= length
        return match_answer(reader.text(ids), keys[number], ended=ended)

    return judge


def step_of(model: Model, prompts: Sequence[Sequence[int]], settings: Sequence[Sampling]) -> Step:
    """Next-token logits of a model, the likeliest that the settings' top-k can keep.

    Args:
        model: asked once a step, all prefixes in one batch, padded on the left.
        prompts: token ids of each.
        settings: their largest top-k decides how many logits are kept.
    """
    tops = [LIBRARY_TOP_K if s.top_k is None else s.top_k for s in settings]

    def step(prefixes: list[Prefix]) -> Likeliest:
        logits = last_logits(model, [[*prompts[number], *ids] for number, ids in prefixes])
        return likeliest(logits, 0 if 0 in tops else max(tops))

    return step


def last_logits(model: Model, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Next-token logits after each of several rows of ids: one forward pass.

    Returns:
        (rows, vocabulary), float32, on the CPU.

    >>> from probes import load
    >>> last_logits(load("embedded"), [[1, 415], [1]]).shape
    torch.Size([2, 32000])
    """
    found = model.generate_batch(rows, max_new_tokens=1, do_sample=False, output_logits=True)
    kept = [generation.logits for generation in found if generation.logits is not None]
    return torch.cat(kept)[:, 0]


def likeliest(logits: torch.Tensor, k: int) -> Likeliest:
    """The k largest logits of each row, and those tied with the k-th.

    Args:
        logits: (rows, vocabulary).
        k: how many; 0 is all.

    >>> likeliest(torch.tensor([[1.0, 3.0, 2.0, 2.0]]), 2)[1].shape
    torch.Size([1, 3])
    """
    k = min(k, logits.shape[-1]) or logits.shape[-1]
    kth = logits.topk(k, dim=-1).values[:, -1:]
    most = int((logits >= kth).count_nonzero(dim=-1).max())
    values, tokens = logits.topk(most, dim=-1)
    return values.masked_fill(values < kth, -torch.inf), tokens


# --- how many answers are right ------------------------------------------------------------------


@dataclass(frozen=True)
class Accuracy:
    """How likely each question is answered rightly under each of several settings.

    Attributes:
        settings: how to draw.
        outcome: (settings, questions).
    """

    settings: tuple[Sampling, ...]
    outcome: Outcome

    def lower(self, sampling: Sampling) -> Floats:
        """The least probability of a right answer: (questions,)."""
        found: Floats = self.outcome.right[self.settings.index(sampling)]
        return found

    def upper(self, sampling: Sampling) -> Floats:
        """The most: (questions,)."""
        found: Floats = self.outcome.upper[self.settings.index(sampling)]
        return found

    def mean(self, sampling: Sampling) -> Bounds:
        """The expected share of right answers."""
        return Bounds(float(self.lower(sampling).mean()), float(self.upper(sampling).mean()))


@once_per_session
def accuracy(model: Model, questions: Sequence[Question]) -> Accuracy:
    """How likely each question is answered rightly over the grid of settings, once a session.

    >>> from probes import load
    >>> from probes.data.questions import built_in_questions
    >>> from probes.schema.sampling import NEAR_GREEDY
    >>> accuracy(load("embedded"), built_in_questions()).mean(NEAR_GREEDY).lower > 0.9
    True
    """
    prompts = [model.encode_prompt(question.prompt) for question in questions]
    step = step_of(model, prompts, GRID)
    judge = judge_of(model, [question.forms for question in questions])
    return Accuracy(GRID, follow(step, judge, len(prompts), GRID, length=LENGTH, width=WIDTH))


@dataclass(frozen=True)
class Drawn:
    """Answers drawn through `generate`, one a question, against what was computed.

    Attributes:
        texts: the answers.
        right: whether each states an accepted answer in its first sentence.
        by_other_keys: share that would be right by the answers to other questions.
        expected: how many are right by the computed probabilities, at least and at most.
        p_few: probability of as few right ones or fewer, at most, if those are so.
        p_many: the same of as many or more.
    """

    texts: list[str]
    right: list[bool]
    by_other_keys: float
    expected: Bounds
    p_few: float
    p_many: float


@once_per_session
def drawn(model: Model, questions: Sequence[Question], sampling: Sampling, seed: int) -> Drawn:
    """Draw an answer to every question in one batch and judge it by the same rules, once a session.

    Args:
        model: the target.
        questions: what to ask.
        sampling: how to draw; one of the grid.
        seed: of the draws.
    """
    generations = model.generate_batch(
        [question.prompt for question in questions],
        sampling=sampling,
        seed=seed,
        max_new_tokens=LENGTH,
    )
    texts = [generation.text for generation in generations]
    right = [is_right(text, q.forms) for text, q in zip(texts, questions, strict=True)]
    others = [
        is_right(text, other.forms)
        for text, own in zip(texts, questions, strict=True)
        for other in questions
        if not set(own.forms) & set(other.forms)
    ]
    computed = accuracy(model, questions)
    lower, upper = computed.lower(sampling), computed.upper(sampling)
    return Drawn(
        texts,
        right,
        by_other_keys=sum(others) / max(1, len(others)),
        expected=Bounds(float(lower.sum()), float(upper.sum())),
        p_few=poisson_binomial_cdf(sum(right), lower.tolist()),
        p_many=poisson_binomial_cdf(len(right) - sum(right), (1 - upper).tolist()),
    )


def is_right(text: str, forms: Sequence[Form]) -> bool:
    """Whether the first sentence of a whole text states an accepted answer.

    >>> from probes.stats.answer_matching import accepted_forms
    >>> is_right("Osaka. Not Tokyo", accepted_forms(("Tokyo",)))
    False
    """
    return match_answer(text, forms, ended=True) is MatchState.RIGHT


# --- two settings --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paired:
    """Two settings compared question by question.

    Attributes:
        by: `bounds`, if they decide; else `draws`.
        difference: mean over questions of the first's probability less the second's, at least.
        low: lower end of the 99 % interval of that mean, for other questions of the kind.
        high: its upper end.
        p_value: probability of such a difference or a larger one if the setting made none, by a
            permutation test that swaps the two of a question.
        better: questions answered better under the first.
        worse: questions answered worse under it.
    """

    by: str
    difference: float
    low: float
    high: float
    p_value: float
    better: int
    worse: int


def paired(first: Floats, second: Floats, by: str = "bounds") -> Paired:
    """Compare two settings question by question.

    Args:
        first: (questions,), probabilities of a right answer under one setting.
        second: the same under another.
        by: what they are.

    >>> clear = paired(np.full(30, 0.9), np.linspace(0.2, 0.8, 30))
    >>> round(clear.difference, 2), clear.p_value, clear.better
    (0.4, 0.0001, 30)
    >>> paired(np.ones(30), np.ones(30)).p_value
    1.0
    """
    differences = first - second
    chance = np.random.default_rng(SEED)
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        alternative="greater",
        n_resamples=RESAMPLES,
        random_state=chance,
    )
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=0.99,
        method="percentile",
        n_resamples=RESAMPLES,
        random_state=chance,
    ).confidence_interval
    return Paired(
        by=by,
        difference=float(differences.mean()),
        low=float(interval.low),
        high=float(interval.high),
        p_value=float(test.pvalue),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
    )


def compared(
    model: Model, questions: Sequence[Question], first: Sampling, second: Sampling, seed: int
) -> Paired:
    """Whether one setting answers better than another: by bounds, or where they fail by draws.

    By bounds, the least that the first can answer stands against the most that the second can.

    Args:
        model: the target.
        questions: what to ask.
        first: the setting that should answer better; one of the grid.
        second: the other; one of the grid.
        seed: of the draws, if any are made.
    """
    computed = accuracy(model, questions)
    found = paired(computed.lower(first), computed.upper(second))
    if found.p_value < ALPHA:
        return found
    shares = [
        np.mean(
            [drawn(model, questions, sampling, seed + run).right for run in range(RUNS)], axis=0
        )
        for sampling in (first, second)
    ]
    return paired(shares[0], shares[1], by="draws")
