"""Measure the next-token distribution, in a form small enough for a record.

The most likely tokens are kept one by one. Of the others one logit in several is kept, by rank:
the logits between two of them are close to a straight line, so that every temperature and filter
can be applied to the whole distribution later, without the model.
"""

from __future__ import annotations

import numpy as np
import torch

from probes.engines.base import LogitsEngine, Prompt
from probes.schema.evidence.distributions import Candidate, Distribution, Token, tail_ranks
from probes.schema.sampling import Sampling
from probes.stats.sampling_reference import log_probabilities

LISTED = 200  # tokens kept one by one, the most likely first
HEAD = 500  # ranks of which every logit is kept: the first ones fall steeply
TAIL = 500  # most logits kept of the others, at equal steps of their rank


def most_likely(model: LogitsEngine, prompt: Prompt, count: int = 10) -> list[Candidate]:
    """Return the most likely next tokens after a prompt, in order.

    >>> from probes import load
    >>> most_likely(load("embedded"), "The capital of Japan is", 1)[0].text
    'Tokyo'
    """
    probabilities = log_probabilities(model.logits(prompt)[-1]).exp()
    values, ids = probabilities.topk(min(count, len(probabilities)))
    return [
        Candidate(id=token, text=model.decode([token]), probability=probability)
        for token, probability in zip(ids.tolist(), values.tolist(), strict=True)
    ]


def measure_distribution(
    model: LogitsEngine, prompt: str, answer: str | None = None
) -> Distribution:
    """Measure the next-token distribution after a prompt.

    The `answer` is the beginning of a right answer, as text; its first token is looked up.

    >>> from probes import load
    >>> found = measure_distribution(load("embedded"), "The capital of Japan is", "Tokyo")
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
            Token(id=int(i), text=model.decode([int(i)]), logit=_round(logits[i]))
            for i in finite[:LISTED]
        ],
        head=[_round(x) for x in logits[finite[:HEAD]]],
        step=step,
        tail=[_round(x) for x in logits[finite[ranks]]],
    )


def largest_error(model: LogitsEngine, kept: Distribution, sampling: Sampling) -> float:
    """Return the largest error of a listed token's probability, computed from what is kept."""
    ids = [token.id for token in kept.top]
    exact = log_probabilities(model.logits(kept.prompt)[-1], sampling)[ids].exp()
    again = log_probabilities(torch.from_numpy(kept.logits()), sampling)[: len(ids)].exp()
    return float((exact - again).abs().max())


def _first_token(model: LogitsEngine, prompt: str, answer: str) -> int:
    """Return the answer's first token after the prompt, or alone where a piece spans both."""
    ids = model.encode(prompt)
    together = model.encode(f"{prompt.rstrip()} {answer}")
    if together[: len(ids)] == ids:
        return together[len(ids)]
    return model.encode(answer, add_special_tokens=False)[0]


def _round(logit: float) -> float:
    return round(float(logit), 4)
