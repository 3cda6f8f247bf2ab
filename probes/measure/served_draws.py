"""Draw from a server under settings that leave tokens of its own list alone, and judge the draws.

Where top-k or a nucleus ends inside the list, the list is the whole law: no reference is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, STORIES
from probes.engines.session_cache import once_per_session
from probes.errors import UndecidableError
from probes.measure.listed_steps import list_steps
from probes.schema.sampling import InForce
from probes.stats.drawn_text import DrawnText
from probes.stats.goodness_of_fit import ALPHA
from probes.stats.settings_evidence import (
    SettingsTest,
    explain_draws,
    judge_settings,
    list_alternatives,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probes.measure.listed_steps import ListedStep
    from probes.schema.sampling import Sampling

SAMPLES = 8
"""Texts that are drawn after each prompt."""

LENGTH = 16
"""Tokens of each."""

TOP = 20
"""Most likely tokens that are listed at each step; vLLM lists no more."""

SLOTS = 1024
"""Tokens of a law: those that are listed, and others that share the rest of the probability."""

CLEAR = 1e-3
"""Nats, and probability, by which a token must lie beside the border of a filter.

Servers compute the border with other sums than are listed: nearer ones may be kept or not.
"""


@dataclass(frozen=True)
class OwnDraws:
    """How a server's draws follow its own log-probabilities."""

    test: SettingsTest
    unclear: int
    """Steps that are left out: a filter ends beyond the list, or at a near-tie."""
    in_force: str
    """The settings that the draws follow, if not those asked for; empty if none is known."""


@once_per_session
def judge_own_draws(engine: Any, sampling: Sampling, *, seed: int) -> OwnDraws:
    """Draw texts, and test whether they follow the listed log-probabilities, once a session.

    All filters of `sampling` are to be stated, as what is not has a server's default. Raises
    UndecidableError where the server does not take one, or lists what filters left.

    >>> from probes import Sampling, load
    >>> found = judge_own_draws(
    ...     load("embedded"), Sampling(temperature=1.4, top_k=8, top_p=1.0, min_p=0.0), seed=0
    ... )
    >>> found.test.good
    True
    """
    dialect = getattr(engine, "dialect", None)
    asked = InForce(sampling, temperature_first=dialect is None or dialect.temperature_first)
    drawn = engine.generate_batch(
        (*STORIES, CAPITAL_OF_JAPAN),
        sampling=sampling,
        seed=seed,
        num_return_sequences=SAMPLES,
        max_new_tokens=LENGTH,
        top_logprobs=TOP,
    )
    steps = [
        step
        for text in drawn
        for sample in range(len(text.texts))
        for step in list_steps(text, sample)
    ]
    if any(step.is_filtered for step in steps):
        raise UndecidableError("it lists log-probabilities after filters, not those of all tokens")
    clear = [step for step in steps if is_clear(step.logprobs, asked)]
    text = _as_text(clear)
    alternatives = _list_alternatives(asked)
    test = judge_settings([text] if clear else [], asked, alternatives, alpha=ALPHA)
    cause = "" if test.good else _explain(text, asked)
    return OwnDraws(test, len(steps) - len(clear), cause)


def is_clear(logprobs: list[float], asked: InForce) -> bool:
    """Return whether a list tells which tokens the settings keep, the most likely first.

    >>> from probes.schema.sampling import Sampling
    >>> top_2 = InForce(Sampling(top_k=2))
    >>> is_clear([-1.0, -1.1, -1.6], top_2), is_clear([-1.0, -1.1, -1.1], top_2)
    (True, False)
    """
    own, count = asked.sampling, len(logprobs)
    k = own.top_k or 0
    if k and (k >= count or logprobs[k - 1] - logprobs[k] <= CLEAR):
        return False
    t = own.temperature if asked.temperature_first else 1.0
    row = torch.tensor(logprobs[:k] if k else logprobs, dtype=torch.float64) / t
    if own.min_p:
        least = float(row[0]) + math.log(own.min_p)
        if bool(((row - least).abs() <= CLEAR).any()) or not (k or float(row[-1]) < least):
            return False
    if own.top_p is not None and own.top_p < 1:
        if not k and t != 1:
            return False  # the sum over all other tokens is not known
        mass = (row.softmax(dim=-1) if k else row.exp()).cumsum(dim=-1)
        # Of the last that top-k keeps the sum is 1.
        ends = bool(k) or (float(mass[-1]) > own.top_p + CLEAR and _holds_the_rest(logprobs))
        if not ends or bool(((mass - own.top_p).abs() <= CLEAR).any()):
            return False
    return bool(k or own.min_p or (own.top_p or 1.0) < 1)


def _holds_the_rest(logprobs: list[float]) -> bool:
    """Return whether all slots beside a list are enough for the rest, none likelier than its last.

    >>> flat = [math.log(each) for each in [0.15, 0.1, *[5e-6] * 18]]
    >>> _holds_the_rest(flat), _holds_the_rest(flat[:2])
    (False, True)
    """
    rest = 1 - math.fsum(map(math.exp, logprobs))
    return rest <= (SLOTS - len(logprobs)) * math.exp(logprobs[-1])


def _as_text(steps: list[ListedStep]) -> DrawnText:
    """Return steps as a text whose tokens are the places in their lists.

    What is not listed is one of many equally unlikely tokens. Where those do not hold all of the
    rest, the law is wrong, and `is_clear` leaves the step out unless top-k drops the rest.
    """
    logits = torch.full((len(steps), SLOTS), -torch.inf, dtype=torch.float64)
    ids = []
    for row, step in zip(logits, steps, strict=True):
        count = len(step.logprobs)
        row[:count] = torch.tensor(step.logprobs, dtype=torch.float64)
        rest = max(1e-12, 1 - float(row[:count].exp().sum()))
        row[count:] = min(math.log(rest / (SLOTS - count)), step.logprobs[-1])
        ids.append(count if (place := step.place) is None else place)
    return DrawnText([], ids, logits)


def _explain(text: DrawnText, asked: InForce) -> str:
    """Name the settings that draws follow; a penalty is not looked for, as it needs ids."""
    found = explain_draws([text], asked, {})
    return "" if "repetition_penalty" in found else found


def _list_alternatives(asked: InForce) -> Mapping[str, InForce]:
    found = list_alternatives(asked, {})
    return {n: each for n, each in found.items() if each.repetition_penalty == 1}


def without_filters(sampling: Sampling) -> Sampling:
    """Return settings with every filter stated: those that are not are off.

    >>> from probes.schema.sampling import Sampling
    >>> without_filters(Sampling(temperature=0.4, top_k=16))
    Sampling(temperature=0.4, top_p=1.0, top_k=16, min_p=0.0)
    """
    return replace(
        sampling,
        top_p=1.0 if sampling.top_p is None else sampling.top_p,
        top_k=sampling.top_k or 0,
        min_p=sampling.min_p or 0.0,
    )
