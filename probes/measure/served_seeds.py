"""Ask a server for texts of the same seeds again, and weigh what rounding explains."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from probes.data.tokenizer_texts import STORIES
from probes.engines.session_cache import once_per_session
from probes.measure.listed_steps import ListedStep, largest_change, list_steps, steps_together
from probes.measure.served_texts import TOP
from probes.schema.sampling import Sampling
from probes.stats.seeded_draws import (
    Way,
    chance_of_independent_draws,
    chance_of_other_token,
    weigh_draw,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.base import Generation

MOST = 1e9
"""Largest logarithm of an e-value that is told."""


@dataclass(frozen=True)
class SeededTexts:
    """Texts of some seeds, drawn twice, and of other seeds."""

    first: list[str]
    again: list[str]
    others: list[str]
    different: int
    """How many texts of the same seed differ."""
    expected: float
    """How many of them rounding explains, by how far listed log-probabilities move."""
    change: float | None
    """Largest change of a listed distance between the two times, each after the same tokens; None
    if none is listed."""
    log_e: float
    """Logarithm of the e-value against rounding alone: how much likelier independent draws are."""
    p_value: float
    """Probability that rounding lets so many texts differ, at most."""


@once_per_session
def draw_seeded(engine: Any, *, seed: int, samples: int, length: int) -> SeededTexts:
    """Draw texts of some seeds, the same again, and texts of other seeds, each time all at once.

    Two texts of one seed are compared up to the first token that differs: until then both lists are
    of the same context, so they tell how often rounding lets the two draws differ.

    >>> from probes import load
    >>> found = draw_seeded(load("embedded"), seed=0, samples=3, length=6)
    >>> found.first == found.again, found.first == found.others
    (True, False)
    """
    sampling = choose_sampling(engine)
    lists = {"top_logprobs": TOP} if "logprobs" in engine.capabilities else {}
    first, again, other = (
        engine.generate(
            STORIES[0],
            sampling=sampling,
            seed=start,
            num_return_sequences=samples,
            max_new_tokens=length,
            **lists,
        )
        for start in (seed, seed, seed + samples)
    )
    together = [steps_together(list_steps(first, n), list_steps(again, n)) for n in range(samples)]
    differ = [_key(first, n) != _key(again, n) for n in range(samples)]
    by_rank = getattr(getattr(engine, "dialect", None), "draws_by_rank", False)
    ways = (Way.BY_RANK,) if by_rank else (Way.RACE, Way.BY_ID)
    found = [_weigh_texts(together, differ, sampling, way) for way in ways]
    log_e, expected = min(found)  # the way that explains the most
    changes = [
        largest_change([one], [replace(two, token=one.token)])
        for steps in together
        for one, two in steps
    ]
    return SeededTexts(
        first.texts,
        again.texts,
        other.texts,
        sum(differ),
        expected,
        max(changes, default=None),
        max(-MOST, min(MOST, log_e)),
        math.exp(-max(0.0, log_e)),
    )


def _weigh_texts(
    together: Sequence[Sequence[tuple[ListedStep, ListedStep]]],
    differ: Sequence[bool],
    sampling: Sampling,
    way: Way,
) -> tuple[float, float]:
    """Return the logarithm of the e-value, and how many texts rounding lets differ."""
    log_e = expected = 0.0
    for steps, is_other in zip(together, differ, strict=True):
        chances, same = [], 1.0
        for one, other in steps:
            law, again = _list_law(one, sampling), _list_law(other, sampling)
            if not (law and again):
                break
            ids = sorted(token for token in {*law, *again} if isinstance(token, int))
            chances.append(chance_of_other_token(law, again, way, ids))
            same *= 1 - chances[-1]
            independent = chance_of_independent_draws(law, again)
            log_e += weigh_draw(one.token != other.token, chances[-1], independent)
        if chances and is_other and all(one.token == other.token for one, other in steps):
            # The same tokens are another text, or one text has ended: its list then is not known.
            log_e -= math.log(max(chances))
        expected += 1 - same
    return log_e, expected


def _list_law(step: ListedStep, sampling: Sampling) -> dict[int | bytes, float]:
    """Return the probabilities of the tokens that top-k keeps; none where a list is shorter."""
    kept = sampling.top_k or 0
    if not kept or len(step.logprobs) < kept or step.is_filtered:
        return {}
    weights = [math.exp(value / sampling.temperature) for value in step.logprobs[:kept]]
    total = sum(weights)
    tokens: Sequence[int | bytes] = step.tokens
    return {token: each / total for token, each in zip(tokens, weights, strict=False)}


def keeps_seeds(engine: Any) -> bool:
    """Return whether an engine documents that a seed decides what is drawn."""
    dialect = getattr(engine, "dialect", None)
    return dialect is None or bool(dialect.keeps_seeds)


def choose_sampling(engine: Any) -> Sampling:
    """Return settings under which texts vary: few tokens are kept where a server takes a top_k."""
    dialect = getattr(engine, "dialect", None)
    if dialect is None or "top_k" in dialect.settings:
        return Sampling(temperature=1.4, top_k=16, top_p=1.0, min_p=0.0)
    return Sampling(temperature=1.4, top_p=1.0, top_k=0, min_p=0.0)


def _key(text: Generation, sample: int) -> tuple[object, ...]:
    return tuple(text.ids[sample]), text.texts[sample]
