"""Whole next-token distributions, kept small enough for a record, and exact enough to filter again.

The most likely tokens are kept one by one. Of all others every so many-th logit is kept, in
order: between two of them the logits lie on a line, near enough, and so every temperature and
every filter can be applied to the whole distribution later, without the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from probes.schema.evidence.distributions import Distribution, Token, tail_ranks
from probes.stats import sampling_reference as filters

if TYPE_CHECKING:
    from probes.engines.base import LogitsEngine as Model
    from probes.schema.sampling import Sampling

LISTED = 200
"""Tokens kept one by one, the most likely first."""

HEAD = 500
"""Ranks of which every logit is kept: from the most likely on they fall steeply."""

TAIL = 500
"""Logits kept of the others, at most, at equal steps of their rank."""


def distribution(model: Model, prompt: str, answer: str | None = None) -> Distribution:
    """The next-token distribution after a prompt, from its shared forward pass.

    Args:
        model: the target.
        prompt: encoded with special tokens.
        answer: what a right answer begins with, as text; its first token is looked up.

    >>> from probes import load
    >>> found = distribution(load("embedded"), "The capital of Japan is", "Tokyo")
    >>> found.top[0].id == found.answer, found.vocabulary
    (True, 32000)
    """
    logits = model.logits(prompt)[-1].double().numpy()
    order = np.argsort(-logits, kind="stable")
    finite = order[np.isfinite(logits[order])]
    step = max(1, -(-(len(finite) - HEAD) // TAIL))
    ranks = tail_ranks(len(finite), HEAD, step)
    return Distribution(
        prompt=prompt,
        answer=None if answer is None else _first_token(model, prompt, answer),
        vocabulary=len(finite),
        top=[
            Token(id=int(i), text=model.decode([int(i)]), logit=_short(logits[i]))
            for i in finite[:LISTED]
        ],
        head=[_short(x) for x in logits[finite[:HEAD]]],
        step=step,
        tail=[_short(x) for x in logits[finite[ranks]]],
    )


def largest_error(model: Model, kept: Distribution, sampling: Sampling) -> float:
    """How far probabilities computed from what is kept are from those of the whole distribution.

    Args:
        model: the target.
        kept: what is kept of one of its distributions.
        sampling: the settings under which both are compared.

    Returns:
        The largest difference of a listed token's probability.
    """
    ids = [token.id for token in kept.top]
    exact = filters.log_probabilities(model.logits(kept.prompt)[-1], sampling)[ids].exp()
    again = torch.from_numpy(kept.logits())
    computed = filters.log_probabilities(again, sampling)[: len(ids)].exp()
    return float((exact - computed).abs().max())


def _first_token(model: Model, prompt: str, answer: str) -> int:
    """The first token of the answer where it follows the prompt.

    The prompt's end may not be a piece's end: the ids of both together tell. Where it is none, the
    answer's own first token is taken.
    """
    ids = model.encode(prompt)
    together = model.encode(f"{prompt.rstrip()} {answer}")
    if together[: len(ids)] == ids:
        return together[len(ids)]
    return model.encode(answer, add_special_tokens=False)[0]


def _short(logit: float) -> float:
    return round(float(logit), 4)
