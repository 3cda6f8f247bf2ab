"""Compare rows that are padded on the left with the same rows alone, without padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import torch

from probes.engines.base import Generation
from probes.engines.transformers import batching
from probes.engines.transformers.attention import list_attention, use_attention
from probes.engines.transformers.branches import find_plain_cache
from probes.engines.transformers.engine import TransformersEngine
from probes.engines.transformers.loaded import catch_tokenizer_failure
from probes.errors import UndecidableError
from probes.measure import differing_layer
from probes.measure.determinism import generate_alone, generate_texts, noise_tolerance
from probes.measure.greedy_differences import Variation, add_reproduction, compare_texts
from probes.measure.reproduction import VariedCall
from probes.measure.settings import plain_settings

LENGTH = 3
"""New tokens of each row: the first sees the prompt's padding, the next that of the cache."""

PADDED = 8
"""Tokens by which the longest of several rows is padded."""

Batch: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Token ids and their attention mask, both (rows, width)."""


def vary_padding(model: TransformersEngine, texts: Sequence[str], how: str) -> list[Variation]:
    """Compare the greedy texts of padded rows with those of each row alone, by logits.

    `how` is a key of `WAYS`. They are compared for each attention implementation; `generate` makes
    the positions. What fills a row is another way's: the ids of another text, the token that the
    claims pad with, and the tokenizer's own. Raises UndecidableError for a network without a cache
    of keys and values in which a mask that hides a token changes nothing.

    >>> found = vary_padding(load("embedded"), ["Once", "The capital of Japan is"], "alone")
    >>> [(each.name, each.explained) for each in found]
    [('padded alone, attention eager', True), ('padded alone, attention sdpa', True)]
    """
    rows = [model.encode_prompt(text) for text in texts]
    if not _uses_mask(model, rows[0]):
        raise UndecidableError("its network has recurrent states and does not use attention masks")
    tolerance = noise_tolerance(model, texts, 20)  # of the texts that other claims compare, too
    alone, batches = generate_alone(model, rows, LENGTH), WAYS[how](model, texts, rows)
    found = []
    for name in list_attention(model):
        with use_attention(model, name) as computing:
            found.append(_compare(computing, name, how, alone, batches, tolerance))
    return found


@torch.inference_mode()
def _uses_mask(model: TransformersEngine, row: Sequence[int]) -> bool:
    """Return whether a mask changes logits; networks with a cache of keys and values have to."""
    ids = torch.tensor([[*row, *row]], device=model.device)
    shown = torch.ones_like(ids)
    out = model.network(input_ids=ids, attention_mask=shown, use_cache=True)
    if find_plain_cache(getattr(out, "past_key_values", None)) is not None:
        return True
    hidden = shown.clone()
    hidden[:, : len(row)] = 0
    other = model.network(input_ids=ids, attention_mask=hidden, use_cache=True)
    return not torch.equal(out.logits[:, -1], other.logits[:, -1])


def _compare(
    model: TransformersEngine,
    attention: str,
    how: str,
    alone: Sequence[Generation],
    batches: Sequence[Batch],
    tolerance: float,
) -> Variation:
    name = f"padded {how}, attention {attention}"
    padded = partial(_continue_padded, model, batches)
    found = compare_texts(model, name, alone, padded(), tolerance)
    rows = [text.prompt_ids for text in alone]
    row = rows[found.worst]
    padding = max(map(len, rows)) + PADDED - len(row)
    count = 2 if len(batches) == 1 else 1
    varied = f"torch.nn.functional.pad({{}}.repeat({count}, 1), ({padding}, 0))"
    call = VariedCall(f"{varied.format('ids')}, {varied.format('mask')}")
    again = partial(_continue_alone, model, rows)
    # The calls show the row that differs most, alone and padded.
    shown = add_reproduction(
        model,
        replace(found, worst=0),
        [row],
        LENGTH,
        call,
        lambda: differing_layer.find_in_texts(model, again, padded),
    )
    return replace(shown, worst=found.worst)


def _continue_alone(model: TransformersEngine, rows: Sequence[Sequence[int]]) -> list[Generation]:
    with plain_settings(model.network):
        return [generate_texts(model, [row], LENGTH)[0] for row in rows]


def _continue_padded(model: TransformersEngine, batches: Sequence[Batch]) -> list[Generation]:
    return [each for batch in batches for each in _generate(model, *batch)]


def _pad_alone(
    _: TransformersEngine, __: Sequence[str], rows: Sequence[Sequence[int]]
) -> list[Batch]:
    """Return each row in a batch of its own, padded with the ids of the row before it."""
    batches = []
    for place, row in enumerate(rows):
        other = [*rows[place - 1]]
        batches.append(
            (
                torch.tensor([[*other, *row]]),
                torch.tensor([[*[0] * len(other), *[1] * len(row)]]),
            )
        )
    return batches


def _pad_together(
    model: TransformersEngine, _: Sequence[str], rows: Sequence[Sequence[int]]
) -> list[Batch]:
    """Return all rows in one batch, of which none is without padding."""
    longest = [0] * (max(map(len, rows)) + PADDED)
    ids, mask = batching.pad([longest, *rows], _filler(model), side="left")
    return [(ids[1:], mask[1:])]


def _pad_by_tokenizer(
    model: TransformersEngine, texts: Sequence[str], _: Sequence[Sequence[int]]
) -> list[Batch]:
    """Return texts as the tokenizer pads them, on the left; one without a padding token by EOS."""
    # Not every tokenizer accepts the argument: one that pads on the left does not need it.
    side = {} if model.tokenizer.padding_side == "left" else {"padding_side": "left"}
    with _padding_token(model.tokenizer), catch_tokenizer_failure("pad", [*texts]):
        made: Any = model.tokenizer(
            [*texts], padding=True, return_attention_mask=True, return_tensors="pt", **side
        )
    for row in made["input_ids"].tolist():
        model.check_ids(row, "padding id")
    return [(made["input_ids"], made["attention_mask"])]


WAYS: dict[
    str, Callable[[TransformersEngine, Sequence[str], Sequence[Sequence[int]]], list[Batch]]
] = {"alone": _pad_alone, "together": _pad_together, "by the tokenizer": _pad_by_tokenizer}
"""By the names of checks in records, what pads rows."""


@contextmanager
def _padding_token(tokenizer: Any) -> Iterator[None]:
    """Use the EOS token as padding token for a while if a tokenizer has none, as is usual."""
    if tokenizer.pad_token is not None:
        yield
        return
    if tokenizer.eos_token is None:
        raise UndecidableError("its tokenizer has neither a padding token nor an EOS token")
    tokenizer.pad_token = tokenizer.eos_token
    try:
        yield
    finally:
        tokenizer.pad_token = None


def _filler(model: TransformersEngine) -> int:
    rows = len(model.embedding())
    return next((i for i in model.eos_token_ids if 0 <= i < rows), 0)


def _generate(model: TransformersEngine, ids: torch.Tensor, mask: torch.Tensor) -> list[Generation]:
    with plain_settings(model.network):
        out = model.network.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=LENGTH,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    logits = torch.stack(out.logits, dim=1).float().cpu()
    found: list[Generation] = []
    for row, kept, each in zip(ids, mask.bool(), logits, strict=True):
        new = out.sequences[len(found), ids.shape[1] :].tolist()
        new = batching.cut_after_end(new, model.eos_token_ids)
        prompt = row[kept].tolist()
        found.append(Generation(prompt, [new], [model.decode(new)], logits=each.unsqueeze(0)))
    return found
