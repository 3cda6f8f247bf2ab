"""Reference definitions of what `generate` does to logits besides temperature and filters.

Pure functions on the logits after one text of token ids, (vocabulary,), computed in float32 or
better; `ids` is the whole text, prompt and new tokens. A token that cannot come has the logit -inf.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch


def penalize_repetition(logits: torch.Tensor, ids: Sequence[int], penalty: float) -> torch.Tensor:
    """Divide the logit of each token of a text by the penalty; a negative logit is multiplied.

    Published by Keskar et al. (2019), for positive logits.

    >>> penalize_repetition(torch.tensor([2.0, -1.0, 3.0]), [0, 1, 0], 2.0)
    tensor([ 1., -2.,  3.])
    """
    seen = _mark(logits, ids)
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def ban_repeated_ngrams(logits: torch.Tensor, ids: Sequence[int], size: int) -> torch.Tensor:
    """Ban each token that would complete an n-gram of the text.

    >>> ban_repeated_ngrams(torch.zeros(5), [1, 2, 3, 1, 2], 3)
    tensor([0., 0., 0., -inf, 0.])
    """
    begin = [*ids[len(ids) - size + 1 :]]
    last = (
        ids[place + size - 1]
        for place in range(len(ids) - size + 1)
        if [*ids[place : place + size - 1]] == begin
    )
    return ban(logits, last)


def add_bias(
    logits: torch.Tensor, ids: Sequence[int], biases: Iterable[tuple[Sequence[int], float]]
) -> torch.Tensor:
    """Add a bias to the last token of each sequence whose other tokens end the text.

    >>> add_bias(torch.zeros(3), [0, 1], [([1, 2], 0.5), ([0, 2], 9.0), ([0], -1.0)])
    tensor([-1.0000,  0.0000,  0.5000])
    """
    total = torch.zeros_like(logits)
    for sequence, bias in biases:
        begin = [*sequence[:-1]]
        if [*ids[len(ids) - len(begin) :]] == begin:
            total[sequence[-1]] += bias
    return logits + total


def ban_words(
    logits: torch.Tensor, ids: Sequence[int], words: Iterable[Sequence[int]], ends: Sequence[int]
) -> torch.Tensor:
    """Ban the last token of each word whose other tokens end the text.

    An end-of-sequence token alone is not banned.

    >>> ban_words(torch.zeros(3), [0, 1], [[1, 2], [0, 1], [0]], ends=[0])
    tensor([0., 0., -inf])
    """
    forbidden = (word for word in words if len(word) > 1 or word[0] not in ends)
    return add_bias(logits, ids, ((word, -torch.inf) for word in forbidden))


def ban(logits: torch.Tensor, tokens: Iterable[int]) -> torch.Tensor:
    """Ban tokens.

    >>> ban(torch.zeros(3), [1])
    tensor([0., -inf, 0.])
    """
    return logits.masked_fill(_mark(logits, tokens), -torch.inf)


def force(logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Ban all tokens but these, whose logits become 0.

    >>> force(torch.tensor([3.0, 2.0]), [1])
    tensor([-inf, 0.])
    """
    return torch.where(_mark(logits, tokens), 0.0, torch.full_like(logits, -torch.inf))


def raise_ends(
    logits: torch.Tensor, new_tokens: int, start: int, factor: float, ends: Sequence[int]
) -> torch.Tensor:
    """Raise the logits of end tokens exponentially with each new token after the first `start`.

    >>> raise_ends(torch.tensor([-1.0, 2.0]), new_tokens=3, start=1, factor=2.0, ends=[0])
    tensor([2., 2.])
    """
    late = new_tokens - start
    if late <= 0:
        return logits
    raised = logits + logits.abs() * (factor**late - 1)
    return torch.where(_mark(logits, ends) & logits.isfinite(), raised, logits)


def apply_penalties(
    logits: torch.Tensor,
    ids: Sequence[int],
    settings: Mapping[str, Any],
    *,
    prompt_tokens: int,
    ends: Sequence[int],
    longest: int | None = None,
) -> torch.Tensor:
    """Apply settings, by transformers' names and in its order; what is not named applies nothing.

    `longest` is the length at which generation stops, with the prompt.

    >>> settings = {"repetition_penalty": 2.0, "suppress_tokens": [1]}
    >>> apply_penalties(torch.tensor([4.0, 5.0]), [0], settings, prompt_tokens=1, ends=[])
    tensor([2., -inf])
    """
    given = {name: value for name, value in settings.items() if value is not None}
    new = len(ids) - prompt_tokens
    if "sequence_bias" in given:
        logits = add_bias(logits, ids, given["sequence_bias"])
    logits = penalize_repetition(logits, ids, given.get("repetition_penalty", 1.0))
    if given.get("no_repeat_ngram_size"):
        logits = ban_repeated_ngrams(logits, ids, given["no_repeat_ngram_size"])
    logits = ban_words(logits, ids, given.get("bad_words_ids", ()), ends)
    if len(ids) < given.get("min_length", 0) or new < given.get("min_new_tokens", 0):
        logits = ban(logits, ends)
    if "forced_bos_token_id" in given and len(ids) == 1:
        logits = force(logits, [given["forced_bos_token_id"]])
    if "forced_eos_token_id" in given and longest is not None and len(ids) == longest - 1:
        last = given["forced_eos_token_id"]
        logits = force(logits, last if isinstance(last, list) else [last])
    if "exponential_decay_length_penalty" in given:
        start, factor = given["exponential_decay_length_penalty"]
        logits = raise_ends(logits, new, start, factor, ends)
    logits = ban(logits, given.get("suppress_tokens", ()))
    # A forced first token comes before what counts as the beginning.
    begin = int(prompt_tokens == 1 and "forced_bos_token_id" in given)
    return ban(logits, given.get("begin_suppress_tokens", ()) if new == begin else ())


def _mark(logits: torch.Tensor, tokens: Iterable[int]) -> torch.Tensor:
    """Return where the tokens are that the logits have: (vocabulary,), bool."""
    marked = torch.zeros_like(logits, dtype=torch.bool)
    marked[[token for token in tokens if token < len(logits)]] = True
    return marked
