"""A generated text, token by token: what else could have come, and how near it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.schema.evidence.texts import Alternative, TraceStep
from probes.stats import sampling_reference as filters

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from probes.engines.base import LogitsEngine as Model

ALTERNATIVES = 5
"""How many of the most likely tokens each step lists."""


def trace(
    model: Model,
    ids: Sequence[int],
    logits: torch.Tensor,
    scores: torch.Tensor | None = None,
    *,
    after: Sequence[int] = (),
    noise: float = 0.0,
) -> list[TraceStep]:
    """Follow a text along the logits it was chosen from.

    Args:
        model: the target, to decode with.
        ids: the text's token ids.
        logits: (tokens, vocabulary), raw.
        scores: (tokens, vocabulary), as the filters left them; None is unfiltered.
        after: the prompt's ids, so that the first token's text keeps the space before it.
        noise: the change of a logit that was measured between equal computations.

    >>> from probes import load
    >>> from probes.measure import decoding
    >>> model = load("embedded")
    >>> text = decoding.greedy(model, ["The capital of Japan is"], 20)[0]
    >>> steps = trace(model, text.ids[0], decoding.step_logits(text))
    >>> "".join(step.text for step in steps).startswith("Tokyo.")
    True
    """
    own = filters.log_probabilities(logits)
    drawn = own if scores is None else filters.log_probabilities(scores)
    entropies = filters.entropy(drawn)
    steps = []
    for place, token in enumerate(ids):
        best = own[place].topk(min(ALTERNATIVES, own.shape[-1]))
        two = logits[place].topk(2).values
        margin = float(two[0] - two[1])
        steps.append(
            TraceStep(
                id=token,
                text=_added(model, [*after, *ids[: place + 1]]),
                probability=_short(float(own[place, token].exp())),
                rank=int((own[place] > own[place, token]).sum()) + 1,
                margin=_short(margin),
                near_tie=margin <= 2 * noise,
                entropy=_short(float(entropies[place])),
                kept=int(filters.count_kept(drawn[place])),
                alternatives=[
                    Alternative(text=model.decode([int(i)]), probability=_short(float(p.exp())))
                    for i, p in zip(best.indices, best.values, strict=True)
                ],
            )
        )
    return steps


def _added(model: Model, ids: Sequence[int]) -> str:
    """What the last token adds to the text before it: alone it may lose its space."""
    before, whole = model.decode(ids[:-1]), model.decode(ids)
    return whole[len(before) :] if whole.startswith(before) else model.decode(ids[-1:])


def _short(value: float) -> float:
    """Four significant digits: enough to look at."""
    return float(f"{value:.4g}")
