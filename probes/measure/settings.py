"""Measure which of several values of a generation setting has effect."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from probes.engines.transformers.engine import TransformersEngine

PLACES = ("the model's own", "a GenerationConfig", "a keyword")
"""Where a setting can be given; each place beats those before it."""

SAMPLED = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0}
"""Sampling that keeps all tokens but those that top-k drops."""

TOP_K = (2, 8, 32)
"""Values of top-k, by which other numbers of tokens are kept, ties or not."""


@dataclass(frozen=True)
class EffectiveSetting:
    """A setting that was given in one or more places, and the value that had effect."""

    field: str
    given: dict[str, Any]  # by place, in the order in which they should win
    expected: Any  # the value of the last of them
    found: Any  # what the value was, judged by its effect; None if it had none of these

    @property
    def wins(self) -> bool:
        """Whether the last place's value had effect."""
        return bool(self.found == self.expected)


def find_effective_settings(
    model: TransformersEngine, ids: Sequence[int]
) -> list[EffectiveSetting]:
    """Give settings in up to three places with another value in each, and see which has effect.

    The value is read off what `generate` does: how many tokens it adds, and how its scores of the
    first token differ from the logits.

    >>> from probes import load
    >>> model = load("embedded")
    >>> found = find_effective_settings(model, model.encode("The capital of Japan is"))
    >>> sorted({each.field for each in found}), all(each.wins for each in found)
    (['max_new_tokens', 'repetition_penalty', 'suppress_tokens', 'top_k'], True)
    """
    logits = model.logits(ids)[-1]
    likely = logits.topk(3).indices.tolist()
    fields: dict[str, tuple[tuple[Any, ...], Callable[[Any], Any], dict[str, Any]]] = {
        "max_new_tokens": ((2, 3, 4), lambda out: out.sequences.shape[1] - len(ids), {}),
        "suppress_tokens": (tuple([token] for token in likely), _suppressed, {}),
        "top_k": (TOP_K, lambda out: _count_kept(out, logits), SAMPLED),
        "repetition_penalty": ((2.0, 3.0, 4.0), lambda out: _penalty(out, ids), {}),
    }
    found = []
    for field, (values, read, others) in fields.items():
        for count in range(1, len(PLACES) + 1):
            given = dict(zip(PLACES[:count], values, strict=False))
            out = _generate(model, ids, field, given, others)
            found.append(EffectiveSetting(field, given, values[count - 1], read(out)))
    return found


@torch.inference_mode()
def _generate(
    model: TransformersEngine,
    ids: Sequence[int],
    field: str,
    given: dict[str, Any],
    others: dict[str, Any],
) -> Any:
    own, config, keyword = (given.get(place) for place in PLACES)
    inputs = torch.tensor([[*ids]], device=model.device)
    common: dict[str, Any] = {"output_scores": True, "output_logits": True}
    common |= {"return_dict_in_generate": True}
    # No token has the id -1: nothing ends a text. Padding needs an id all the same.
    common |= {"eos_token_id": -1, "pad_token_id": 0, "do_sample": False, **others}
    if field != "max_new_tokens":
        common["max_new_tokens"] = 1
    arguments: dict[str, Any] = {}
    if config is not None:
        arguments["generation_config"] = GenerationConfig(**common, **{field: config})
    else:
        arguments |= common
    if keyword is not None:
        arguments[field] = keyword
    given_own = {} if own is None else {field: own}
    with own_settings(model.network, **given_own), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.network.generate(inputs, attention_mask=torch.ones_like(inputs), **arguments)


@contextmanager
def own_settings(network: Any, **settings: Any) -> Iterator[None]:
    """Give a network these settings of its own, and no other."""
    before = network.generation_config
    network.generation_config = GenerationConfig(**settings)
    try:
        yield
    finally:
        network.generation_config = before


def _suppressed(out: Any) -> list[int]:
    dropped: list[int] = (~out.scores[0][0].isfinite()).nonzero().flatten().tolist()
    return dropped


def _count_kept(out: Any, logits: torch.Tensor) -> int | None:
    """Return the k of top-k by which so many tokens were kept; ties with the k-th are kept, too."""
    kept = int(out.scores[0][0].isfinite().sum())
    counts = [int((logits >= logits.topk(k).values[-1]).sum()) for k in TOP_K]
    return next((k for k, count in zip(TOP_K, counts, strict=True) if count == kept), None)


def _penalty(out: Any, ids: Sequence[int]) -> float | None:
    """Return by how much the score of a token of the prompt was divided, or multiplied below 0."""
    logits, scores = out.logits[0][0].float(), out.scores[0][0].float()
    token = max(set(ids), key=lambda each: abs(float(logits[each])))
    one, other = float(logits[token]), float(scores[token])
    return round(one / other if one > 0 else other / one, 3) if one and other else None
