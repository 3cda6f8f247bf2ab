"""Cut texts into windows, and compare next-token distributions at the second half of each.

This is done as llama.cpp's perplexity tool does: windows of 512 tokens, or as many as the model can
see, without overlap, the first token of each replaced by BOS where the tokenizer inserts one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from probes.engines.base import Engine, PromptLogprobs
from probes.errors import UndecidableError
from probes.stats import distribution_distance as distances
from probes.stats.distribution_distance import Distances

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probes.data.corpus import Corpus
    from probes.engines.base import LogitsEngine, TopLogprobs
    from probes.engines.transformers.engine import TransformersEngine

CONTEXT = 512
"""Tokens of a window: llama.cpp's default."""

FEWEST_WINDOWS = 2
"""Windows of each text that an interval needs; so many are scored unless all are."""

ROWS_AT_ONCE = 32
"""Positions compared together, which bounds the memory that their distributions take."""

LISTED, LISTED_EVERY = 100, 8
"""Most likely tokens that an engine is asked for, and of how many positions one is asked for where
each takes a request."""

AT_ONCE = 4
"""Windows of which an engine is asked together, each in a request of its own: llama.cpp keeps the
beginnings of as many texts."""


@dataclass(frozen=True)
class ScoredText:
    """The windows of a text."""

    name: str
    windows: tuple[tuple[int, ...], ...]


class BatchLogits(Protocol):
    """What computes the logits after every position of several texts of ids."""

    def logits_batch(self, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Return them, (positions, vocabulary) each, float32, on the CPU."""


def cut_windows(
    model: LogitsEngine, corpus: Corpus, *, context_length: int | None, most: int | None
) -> list[ScoredText]:
    """Return windows of equal length of each text, at most so many of each; all if None.

    Texts of fewer than two windows are left out; raise UndecidableError if all are.

    >>> from probes import load
    >>> from probes.data.corpus import built_in_corpus
    >>> model = load("embedded")
    >>> texts = cut_windows(model, built_in_corpus(), context_length=64, most=2)
    >>> [(text.name, len(text.windows), text.windows[1][0]) for text in texts]
    [('english', 2, 1), ('japanese', 2, 1)]
    """
    size = min(CONTEXT, context_length or CONTEXT)
    texts, longest = [], 0
    for name, text in corpus.texts.items():
        ids, plain = model.encode(text), model.encode(text, add_special_tokens=False)
        begin = ids[:1] if ids[:1] != plain[:1] and ids[0] in model.special_token_ids else []
        whole = [*begin, *plain]
        longest = max(longest, len(whole))
        starts = range(0, len(whole) - size + 1, size)
        windows = [(*begin, *whole[at + len(begin) : at + size]) for at in starts][:most]
        if len(windows) >= FEWEST_WINDOWS:
            texts.append(ScoredText(name, tuple(windows)))
    if not texts:
        raise UndecidableError(
            f"the corpus {corpus.name} is too short: {longest:,} tokens, and an interval needs "
            f"{FEWEST_WINDOWS} windows of {size}"
        )
    return texts


def find_context(reference: TransformersEngine, engine: Engine) -> int | None:
    """Return how many tokens of a text both can see; None where it is not known.

    A server sees one less than it states: it is asked for a token that follows.

    >>> model = load("embedded")
    >>> find_context(model, model) == model.context_length
    True
    """
    found = [reference.context_length, getattr(engine, "context_length", None)]
    if "server" in engine.capabilities:
        found = [None if each is None else each - 1 for each in found]
    return min((each for each in found if each is not None), default=None)


def compare_windows(
    reference: BatchLogits, other: BatchLogits, texts: Sequence[ScoredText]
) -> list[list[Distances]]:
    """Compare two models at the second half of every window of every text."""
    return [[_compare_window(reference, other, window) for window in t.windows] for t in texts]


def _compare_window(reference: BatchLogits, other: BatchLogits, window: Sequence[int]) -> Distances:
    first = len(window) // 2
    before, after = (
        model.logits_batch([list(window)])[0][first:-1] for model in (reference, other)
    )
    if before.shape != after.shape:
        raise UndecidableError(
            f"it computes {after.shape[1]:,} logits and its reference {before.shape[1]:,}: their "
            "distributions are over other tokens"
        )
    following = torch.tensor(window[first + 1 :])
    pieces = (torch.split(each, ROWS_AT_ONCE) for each in (before, after, following))
    parts = zip(*pieces, strict=True)
    found = [distances.compare_logits(*part) for part in parts]
    return distances.Distances(
        **{
            name: np.concatenate([getattr(each, name) for each in found])
            for name in distances.Distances.__dataclass_fields__
        }
    )


# --- an engine that lists its most likely tokens alone -------------------------------------------


class Listing(Engine, PromptLogprobs, Protocol):
    """What lists its most likely tokens: after texts, or else along prompts."""


def compare_listed(
    reference: LogitsEngine,
    engine: Listing,
    texts: Sequence[ScoredText],
    *,
    every: int = LISTED_EVERY,
) -> list[list[Distances]]:
    """Compare an engine that lists its most likely tokens alone, so that distances are the least.

    One that lists those along a prompt is asked once a window. Of any other every so many of the
    scored positions is asked for, as each is a request; those are left out at which it lists none,
    as llama.cpp does where its most likely token ends the text or is a part of a character. The
    ratio of probabilities is NaN where the token that follows is not listed.

    >>> from probes import load
    >>> from probes.data.corpus import built_in_corpus
    >>> model = load("embedded")
    >>> texts = cut_windows(model, built_in_corpus(), context_length=64, most=2)
    >>> [[one, _], _] = compare_listed(model, model, texts)
    >>> len(one.divergence), bool(max(one.divergence) < 1e-6), bool(abs(one.log_ratio).max() < 1e-6)
    (31, True, True)
    """
    windows = [window for text in texts for window in text.windows]
    found = _list_tokens(engine, windows, every)
    rounded = distances.measure_excess(top.logprobs for tops in found for top in tops.values())
    listed = iter(found)
    return [
        [_compare_listed(reference, window, next(listed), rounded) for window in text.windows]
        for text in texts
    ]


def _compare_listed(
    reference: LogitsEngine,
    window: Sequence[int],
    listed: Mapping[int, TopLogprobs],
    rounded: float,
) -> Distances:
    if not listed:
        raise UndecidableError("its engine lists no tokens along a text")
    laws = reference.logits_batch([list(window)])[0]
    rows = []
    for place, top in listed.items():
        law, following = laws[place].double().log_softmax(dim=0), window[place + 1]
        if max(top.ids) >= len(law):
            raise UndecidableError(
                f"it lists the id {max(top.ids):,}, and its reference knows {len(law):,} ids"
            )
        change, ratio = distances.least_change(
            dict(zip(top.ids, top.logprobs, strict=True)), following, float(law[following])
        )
        divergence = distances.least_divergence(top.logprobs, law[top.ids].tolist(), rounded)
        rows.append((divergence, change, float(int(law.argmax()) == top.ids[0]), ratio))
    return Distances(*np.array(rows).T)


def _list_tokens(
    engine: Listing, windows: Sequence[Sequence[int]], every: int
) -> list[dict[int, TopLogprobs]]:
    """Return the most likely tokens after positions of the second half of each window."""
    if "prompt-logprobs" in engine.capabilities:
        return [_list_along(engine, window) for window in windows]
    found: list[dict[int, TopLogprobs]] = [{} for _ in windows]
    for first in range(0, len(windows), AT_ONCE):
        group = range(first, min(first + AT_ONCE, len(windows)))
        # Longer and longer: a server computes the beginnings of a few texts once.
        for place in _scored(windows[0])[::every]:
            made = engine.generate_batch(
                [list(windows[at][: place + 1]) for at in group],
                max_new_tokens=1,
                do_sample=False,
                top_logprobs=LISTED,
            )
            for at, text in zip(group, made, strict=True):
                tops = (text.top_logprobs or [[]])[0]
                if tops and tops[0].ids:
                    found[at][place] = tops[0]
    return found


def _scored(window: Sequence[int]) -> range:
    """Return the positions of a window that are scored."""
    return range(len(window) // 2, len(window) - 1)


def _list_along(engine: Listing, window: Sequence[int]) -> dict[int, TopLogprobs]:
    """Return the most likely tokens along a window, and that which follows at each position.

    Raises UndecidableError where no others than those that follow are listed.
    """
    along = engine.prompt_logprobs(window, LISTED)
    if all(step.ids in ([], [token]) for step, token in zip(along, window[1:], strict=True)):
        raise UndecidableError("it lists no likely tokens along a prompt, but that which follows")
    found = {}
    for place in _scored(window):
        top, following = along[place], window[place + 1]
        if following not in top.ids:
            top = replace(top, ids=[*top.ids, following], logprobs=[*top.logprobs, top.chosen])
        found[place] = top
    return found
