"""Trace a generated text token by token, with its alternatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.schema.evidence.texts import Alternative, TraceStep
from probes.stats import sampling_reference as reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from probes.engines.base import LogitsEngine

ALTERNATIVES = 5  # most likely tokens listed at each step


def trace_text(
    model: LogitsEngine,
    ids: Sequence[int],
    logits: torch.Tensor,  # (tokens, vocabulary), raw
    scores: torch.Tensor | None = None,  # the same after the filters; None is unfiltered
    *,
    after: Sequence[int] = (),  # the prompt's ids, so that the first token keeps its space
    noise: float = 0.0,  # the measured change of a logit between equal computations
) -> list[TraceStep]:
    """Trace a text along the logits it was chosen from.

    >>> from probes.measure.greedy import generate_greedy, step_logits
    >>> model = load("embedded")
    >>> text = generate_greedy(model, ["The capital of Japan is"], 20)[0]
    >>> trace_text(model, text.ids[0], step_logits(text))[0].text
    'Tokyo'
    """
    own = reference.log_probabilities(logits)
    filtered = own if scores is None else reference.log_probabilities(scores)
    entropies = reference.entropy(filtered)
    steps = []
    for place, token in enumerate(ids):
        best = own[place].topk(min(ALTERNATIVES, own.shape[-1]))
        two = logits[place].topk(2).values
        margin = float(two[0] - two[1])
        steps.append(
            TraceStep(
                id=token,
                text=text_of_last(model, [*after, *ids[: place + 1]]),
                probability=_round(float(own[place, token].exp())),
                rank=int((own[place] > own[place, token]).sum()) + 1,
                margin=_round(margin),
                near_tie=margin <= 2 * noise,
                entropy=_round(float(entropies[place])),
                kept=int(reference.count_kept(filtered[place])),
                alternatives=[
                    Alternative(text=model.decode([int(i)]), probability=_round(float(p.exp())))
                    for i, p in zip(best.indices, best.values, strict=True)
                ],
            )
        )
    return steps


def text_of_last(model: LogitsEngine, ids: Sequence[int]) -> str:
    """Return what the last token adds to the text before it: alone it may lose its space."""
    before, whole = model.decode(ids[:-1]), model.decode(ids)
    return whole[len(before) :] if whole.startswith(before) else model.decode(ids[-1:])


def _round(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")
