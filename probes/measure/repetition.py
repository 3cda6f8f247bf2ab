"""Measure the repetition in long greedy texts, and in sampled ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

import torch
from scipy import stats
from transformers import StoppingCriteria

from probes.engines.base import Generation, LogitsEngine
from probes.measure.row_sampling import UnfilteredSampler, require_calls
from probes.schema.evidence.shape import Interval
from probes.schema.evidence.texts import GreedyRepetition
from probes.schema.sampling import UNPENALIZED
from probes.stats.repetition import (
    count_distinct_ngrams,
    find_repeated_tail,
    share_of_distinct_ngrams,
)

LENGTH = 120  # new tokens of the greedy texts that claims compare
N_GRAM = 4  # tokens of the n-grams that are counted


class Repetition(GreedyRepetition):
    """Repetition in long greedy texts and in sampled ones."""

    greedy_repeating: float
    """Share of greedy texts that end in a repeated phrase."""
    sampled_repeating: float
    """Share of sampled texts that do."""
    more_distinct: int
    """Sampled texts with a larger share of distinct 4-grams than their prompt's greedy text."""
    p_value: float
    """Probability of as many of them, if larger and smaller were equally likely."""
    measured: dict[str, Interval]
    """Their share, with its exact 99 % interval."""


def compare_repetition(
    model: LogitsEngine, greedy: Sequence[Generation], *, samples: int, seed: int
) -> Repetition:
    """Compare greedy texts of one length with `samples` unfiltered ones of each prompt.

    Raises BrokenModelError if the library's `generate` ignores the logits processor.

    The sampled texts end together, at the greedy length or as soon as it is certain that each has
    the larger share there: they can only gain 4-grams.
    """
    greedy_ids = [text.ids[0] for text in greedy]
    length = max(map(len, greedy_ids))
    shares = [share_of_distinct_ngrams([ids], N_GRAM) for ids in greedy_ids]
    possible = max(1, length - N_GRAM + 1)

    def is_decided(row: int, ids: list[int]) -> bool:
        found = count_distinct_ngrams([ids], N_GRAM)
        return found / possible > shares[row // samples]

    sampler = UnfilteredSampler(seed)
    sampled = model.generate_batch(
        [text.prompt_ids for text in greedy for _ in range(samples)],
        max_new_tokens=length,
        do_sample=False,
        logits_processor=[sampler],
        stopping_criteria=[AllDecided(model, is_decided)],
        **UNPENALIZED,
    )
    require_calls(sampler.steps)
    sampled_ids = [text.ids[0] for text in sampled]
    pairs = [
        (share_of_distinct_ngrams([ids], N_GRAM), shares[row // samples])
        for row, ids in enumerate(sampled_ids)
    ]
    more = sum(one > other for one, other in pairs)
    test = stats.binomtest(more, len(pairs), alternative="greater")
    ends = stats.binomtest(more, len(pairs)).proportion_ci(0.99)
    return Repetition(
        greedy_distinct=mean(shares),
        sampled_distinct=mean(share for share, _ in pairs),
        greedy_repeating=mean(find_repeated_tail(ids)[1] > 1 for ids in greedy_ids),
        sampled_repeating=mean(find_repeated_tail(ids)[1] > 1 for ids in sampled_ids),
        more_distinct=more,
        p_value=float(test.pvalue),
        measured={
            "share_more_distinct": Interval(
                value=more / len(pairs), low=float(ends.low), high=float(ends.high)
            )
        },
        greedy_text=greedy[0].text,
    )


class AllDecided(StoppingCriteria):
    """Ends all rows of a batch together, once each is decided or has ended."""

    def __init__(self, model: LogitsEngine, is_decided: Callable[[int, list[int]], bool]) -> None:
        """Take what decides a row by its number and its new token ids, until it is once true."""
        self._is_decided, self._ends = is_decided, {*model.eos_token_ids}
        self._start: int | None = None  # where new tokens begin
        self._open: list[int] = []

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: Any,  # noqa: ARG002 - the library passes them
        **_: Any,
    ) -> torch.Tensor:
        """Return whether to end, the same for each row of (rows, positions): (rows,), bool."""
        if self._start is None:
            self._start, self._open = input_ids.shape[1] - 1, [*range(len(input_ids))]
        rows = input_ids[:, self._start :].tolist()
        self._open = [
            row
            for row in self._open
            if rows[row][-1] not in self._ends and not self._is_decided(row, rows[row])
        ]
        return torch.full((len(rows),), not self._open, device=input_ids.device)
