"""Whole next-token distributions, kept small enough for a record, and exact enough to filter again.

The most likely tokens are kept one by one. Of all others every so many-th logit is kept, in
order: between two of them the logits lie on a line, near enough, and so every temperature and
every filter can be applied to the whole distribution later, without the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from probes.schema import prompt_logprobs as kept_logits
from probes.stats import sampling_reference as filters

if TYPE_CHECKING:
    import numpy.typing as npt

    from probes.engines.base import LogitsEngine as Model
    from probes.schema.sampling import Sampling

LISTED = 200
"""Tokens kept one by one, the most likely first."""

HEAD = 500
"""Ranks of which every logit is kept: from the most likely on they fall steeply."""

TAIL = 500
"""Logits kept of the others, at most, at equal steps of their rank."""


@dataclass(frozen=True)
class Token:
    """One of the most likely tokens: its id, its text as decoded alone, its logit."""

    id: int
    text: str
    logit: float


@dataclass(frozen=True)
class Distribution:
    """The next-token distribution after a prompt.

    Attributes:
        prompt: the prompt.
        answer: the token id a right answer begins with; None where nothing is right or wrong.
        vocabulary: number of tokens.
        top: the most likely tokens.
        head: the largest logits, in order.
        step: ranks from one logit of `tail` to the next; from its last one but one to the last,
            which is the smallest logit of all, it may be fewer.
        tail: logits at the ranks `len(head)`, `len(head) + step` and so on.
    """

    prompt: str
    answer: int | None
    vocabulary: int
    top: list[Token]
    head: list[float]
    step: int
    tail: list[float]

    def logits(self) -> npt.NDArray[np.float64]:
        """(vocabulary,), all logits in order, those between the kept ones on straight lines.

        >>> Distribution("", None, 4, [], head=[4.0], step=2, tail=[2.0, 1.0]).logits()
        array([4. , 2. , 1.5, 1. ])
        >>> Distribution("", None, 2, [], head=[4.0, 1.0], step=1, tail=[]).logits()
        array([4., 1.])
        """
        return kept_logits.whole(self.vocabulary, self.head, self.step, self.tail)


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
    ranks = kept_logits.tail_ranks(len(finite), HEAD, step)
    return Distribution(
        prompt=prompt,
        answer=None if answer is None else _first_token(model, prompt, answer),
        vocabulary=len(finite),
        top=[Token(int(i), model.decode([int(i)]), _short(logits[i])) for i in finite[:LISTED]],
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
