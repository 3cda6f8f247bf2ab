"""Measure which of several values of a generation setting has effect."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig

from probes.engines.transformers.engine import TransformersEngine
from probes.measure.used_settings import UnseenSettingsError, prepare_settings

PLACES = ("the model's own", "a GenerationConfig", "a keyword")
"""Where a setting can be given; each place beats those before it."""

SAMPLED = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0}
"""Sampling that keeps all tokens but those that top-k drops."""

TOP_K = (2, 8, 32)
"""Values of top-k, by which other numbers of tokens are kept, ties or not."""


PREPARED: dict[str, tuple[Any, Any, Any]] = {
    "do_sample": (False, True, False),
    "temperature": (0.5, 0.6, 0.7),
    "top_k": (5, 6, 7),
    "top_p": (0.7, 0.8, 0.9),
    "min_p": (0.01, 0.02, 0.03),
    "typical_p": (0.7, 0.8, 0.9),
    "epsilon_cutoff": (1e-4, 2e-4, 3e-4),
    "eta_cutoff": (1e-4, 2e-4, 3e-4),
    "repetition_penalty": (1.1, 1.2, 1.3),
    "no_repeat_ngram_size": (3, 4, 5),
    "bad_words_ids": ([[3]], [[4]], [[5]]),
    "suppress_tokens": ([6], [7], [8]),
    "begin_suppress_tokens": ([9], [10], [11]),
    "sequence_bias": ([[[3], 1.0]], [[[4], 1.0]], [[[5], 1.0]]),
    "exponential_decay_length_penalty": ([5, 1.1], [6, 1.1], [7, 1.1]),
    "forced_bos_token_id": (3, 4, 5),
    "forced_eos_token_id": (3, 4, 5),
    "eos_token_id": ([3], [4, 5], [6]),
    "pad_token_id": (3, 4, 5),
    "bos_token_id": (3, 4, 5),
    "max_new_tokens": (31, 32, 33),
    "min_new_tokens": (1, 2, 3),
    "max_length": (101, 102, 103),
    "min_length": (1, 2, 3),
    "num_beams": (4, 5, 6),
    "num_return_sequences": (2, 3, 4),
    "length_penalty": (0.8, 0.9, 1.1),
    "early_stopping": (False, True, False),
    "renormalize_logits": (False, True, False),
    "remove_invalid_values": (False, True, False),
    "use_cache": (True, False, True),
    "max_time": (100.0, 200.0, 300.0),
    "stop_strings": (["a"], ["b"], ["c"]),
}
"""Settings with a value for each place, that can all be given at once.

No value in a GenerationConfig is the library's default: up to 4.57 that counts as not given.
"""


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


def find_prepared_settings(model: TransformersEngine) -> list[EffectiveSetting]:
    """Give many settings at once in up to three places, and read what `generate` prepares.

    Nothing is generated. Raises UnseenSettingsError where that cannot be read, or is refused.

    >>> found = find_prepared_settings(load("embedded"))
    >>> len(found) // 3 == len(PREPARED), all(each.wins for each in found)
    (True, True)
    """
    found = []
    for count in range(1, len(PLACES) + 1):
        own, config, keywords = (
            {name: values[place] for name, values in PREPARED.items()} if place < count else {}
            for place in range(len(PLACES))
        )
        arguments: dict[str, Any] = dict(keywords)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if config:
                arguments["generation_config"] = GenerationConfig(**config)
            with own_settings(model.network, **own):
                try:
                    prepared = prepare_settings(model, **arguments)
                except ValueError as error:  # a later version may not allow all of them together
                    raise UnseenSettingsError(f"not all settings can be given: {error}") from error
        for name, values in PREPARED.items():
            given = dict(zip(PLACES[:count], values, strict=False))
            found.append(EffectiveSetting(name, given, values[count - 1], prepared.get(name)))
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


@contextmanager
def plain_settings(network: Any) -> Iterator[None]:
    """Leave a network, of its own settings, only the ids that end and fill a text."""
    own = network.generation_config
    ids = {"eos_token_id": own.eos_token_id, "pad_token_id": own.pad_token_id}
    with own_settings(network, **ids):
        yield


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
