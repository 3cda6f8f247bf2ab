"""Compare what penalties and bans make of logits with their definitions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from probes.engines.transformers.engine import TransformersEngine
from probes.measure.asking import list_prompts
from probes.measure.settings import own_settings
from probes.stats.penalty_reference import apply_penalties
from probes.stats.rounding import differs_beyond_rounding

DISTINCT = 5
"""Different tokens, besides a first one, that a prompt must have for tokens to repeat as needed."""


@dataclass(frozen=True)
class PenaltyEffect:
    """What a setting made of the logits of a few steps."""

    setting: str
    value: Any
    changed: int  # scores that it changes by its definition, in all rows and steps
    wrong: str  # the first score that is not what the definition gives; empty if there is none


def measure_penalties(model: TransformersEngine, ids: Sequence[int]) -> list[PenaltyEffect]:
    """Generate with one setting at a time, and compare scores with its definition.

    Two rows of the same length are generated; the tokens that a setting names are likely ones, some
    of them new tokens of the first row. `ids` are a prompt of more than
    `DISTINCT` different tokens.

    >>> model = load("embedded")
    >>> found = measure_penalties(model, model.encode("The capital of Japan is"))
    >>> len(found), all(each.changed for each in found), {each.wrong for each in found}
    (12, True, {''})
    """
    rows = build_rows(ids)
    plain = _generate(model, rows, {}, 2)
    first, second = (int(step[0].argmax()) for step in plain.logits)
    others = [int(i) for i in plain.logits[0][0].topk(4).indices if int(i) != first]
    ends = [first, int(plain.logits[0][1].argmax())]
    length, last = len(rows[0]), rows[0][-1]
    words = [[others[1]], [last, others[0]], [first, second], [others[2], first]]
    biases = [[[first], 2.5], [[last, others[0]], -3.0], [[first, second], 1.5]]
    two_steps: list[dict[str, Any]] = [
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 3},
        {"no_repeat_ngram_size": 1},
        {"bad_words_ids": words},
        {"sequence_bias": biases},
        {"suppress_tokens": [first, others[0]]},
        {"begin_suppress_tokens": [first, others[0]]},
        {"forced_eos_token_id": others[0]},
    ]
    three_steps: list[dict[str, Any]] = [
        {"min_new_tokens": 2, "eos_token_id": ends},
        {"min_length": length + 2, "eos_token_id": ends},
        {"exponential_decay_length_penalty": (0, 1.25), "eos_token_id": others[:2]},
    ]
    begin = [row[-1:] for row in rows]
    return [
        *(_measure_one(model, given, rows, 2) for given in two_steps),
        _measure_one(model, {"forced_bos_token_id": others[0]}, begin, 2),
        *(_measure_one(model, given, rows, 3) for given in three_steps),
    ]


def choose_prompt(model: TransformersEngine) -> list[int]:
    """Return the ids of the first standard prompts that have enough different tokens together.

    Raises LookupError if all of them have not.

    >>> load("embedded").decode(choose_prompt(load("embedded")))
    '<s> The capital of Japan is'
    """
    ids: list[int] = []
    for prompt in list_prompts(model):
        ids += model.encode_prompt(prompt)
        if len({*ids}) > DISTINCT:
            return ids
    raise LookupError(f"its tokenizer gives only {len({*ids})} different ids for the prompts")


def build_rows(ids: Sequence[int]) -> list[list[int]]:
    """Return two prompts of the same length, in which tokens repeat in several ways.

    The first ends with two tokens that are followed by one token before; the last of them alone is
    followed by others, too, and three tokens of the end do not come before: n-grams of other
    lengths ban other tokens.

    >>> build_rows([7, 1, 2, 3, 4, 5])[0]
    [7, 1, 2, 3, 4, 5, 2, 1, 2, 3, 4, 2, 5, 1, 2]
    """
    a, b, c, d, e = list(dict.fromkeys(each for each in ids if each != ids[0]))[:DISTINCT]
    pattern = [b, a, b, c, d, b, e, a, b]
    row = [*ids, *pattern]
    return [row, [row[0], *row[:0:-1]]]


def _measure_one(
    model: TransformersEngine, given: dict[str, Any], rows: list[list[int]], steps: int
) -> PenaltyEffect:
    name, value = next(iter(given.items()))
    ends = given.get("eos_token_id", [])
    out = _generate(model, rows, given, steps)
    changed, complaint = 0, ""
    for step, pair in enumerate(zip(out.logits, out.scores, strict=True)):
        logits, scores = (each.float().cpu() for each in pair)
        for row, sequence in enumerate(out.sequences.tolist()):
            expected = apply_penalties(
                logits[row],
                sequence[: len(rows[0]) + step],
                given,
                prompt_tokens=len(rows[0]),
                ends=ends,
                longest=len(rows[0]) + steps,
            )
            changed += int((expected != logits[row]).sum())
            wrong = differs_beyond_rounding(scores[row], expected, logits[row])
            if wrong.any() and not complaint:
                token = int(wrong.nonzero()[0])
                complaint = (
                    f"row {row}, token {step}: the score of {model.decode([token])!r} is "
                    f"{float(scores[row][token]):.6g}, by definition "
                    f"{float(expected[token]):.6g} (logit {float(logits[row][token]):.6g})"
                )
    return PenaltyEffect(name, value, changed, complaint)


@torch.inference_mode()
def _generate(
    model: TransformersEngine, rows: list[list[int]], given: dict[str, Any], steps: int
) -> Any:
    """Generate greedily under these settings alone, with scores and logits."""
    inputs = torch.tensor(rows, device=model.device)
    settings = {"pad_token_id": 0, "do_sample": False, **given}
    with own_settings(model.network), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.network.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=steps,
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
            **settings,
        )
