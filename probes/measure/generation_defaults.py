"""Observe `generate` as the library ships it: its defaults and its padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from probes._util.jsonfile import read_object
from probes.engines.base import Generation, Prompt
from probes.engines.transformers.engine import DEFAULT_NEW_TOKENS, TransformersEngine
from probes.measure.greedy import step_logits


@dataclass(frozen=True)
class DefaultGeneration:
    """What `generate()` did without arguments."""

    generation: Generation
    greedy_ids: list[int]  # the most likely token at each step of that text
    ended: bool  # whether it stopped at an end-of-sequence token

    @property
    def new_tokens(self) -> int:
        """Number of tokens added."""
        return len(self.generation.ids[0])


TEXT_SETTINGS = {
    "do_sample": False,
    "num_beams": 1,
    "penalty_alpha": 0.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
    "bad_words_ids": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "guidance_scale": 1.0,
    "sequence_bias": None,
    "stop_strings": None,
}
"""Generation settings that change a greedy text, with the values at which they do not."""


@dataclass(frozen=True)
class OwnSettings:
    """What the model's own files ask of `generate()`."""

    not_greedy: dict[str, Any]  # settings by which its text is not the plain greedy one
    new_tokens: int | None  # how many tokens it asks for; None leaves it to the library
    whole_length: int | None  # the same with the prompt included

    def expected_new_tokens(self, prompt_tokens: int) -> int:
        """Return how many tokens `generate()` adds to a prompt, unless the text ends before.

        >>> OwnSettings({}, None, None).expected_new_tokens(6)
        20
        >>> OwnSettings({}, None, 64).expected_new_tokens(6)
        58
        """
        if self.new_tokens is not None:
            return self.new_tokens
        if self.whole_length is not None:
            return max(0, self.whole_length - prompt_tokens)
        return DEFAULT_NEW_TOKENS


def read_own_settings(model: TransformersEngine) -> OwnSettings:
    """Read the generation settings in a model's files, not those that the library made of them.

    They are in `generation_config.json`; without one, in `config.json`.

    >>> read_own_settings(load("embedded"))
    OwnSettings(not_greedy={}, new_tokens=None, whole_length=None)
    """
    file = model.checkpoint.folder / "generation_config.json"
    asked = read_object(file) if file.is_file() else model.checkpoint.config
    return OwnSettings(
        not_greedy={
            name: asked[name]
            for name, neutral in TEXT_SETTINGS.items()
            if asked.get(name) not in (None, neutral)
        },
        new_tokens=asked.get("max_new_tokens"),
        whole_length=asked.get("max_length"),
    )


def generate_by_default(model: TransformersEngine, prompt: Prompt) -> DefaultGeneration:
    """Call `generate()` with a prompt and nothing else, and take the argmax of each step's logits.

    The logits are those it chose from: another pass rounds differently, and may flip near-ties.

    >>> generate_by_default(load("embedded"), "The capital of Japan is").new_tokens
    20
    """
    generation = model.generate(prompt, seed=0, output_logits=True)
    new = generation.ids[0]
    return DefaultGeneration(
        generation,
        greedy_ids=step_logits(generation).argmax(dim=1).tolist(),
        ended=bool(new) and new[-1] in model.eos_token_ids,
    )


def padding_ids(model: TransformersEngine) -> tuple[int | None, int | None]:
    """Return the ids of the pad and the first end-of-sequence token that `generate` is set to use.

    Raises UnknownIdError if the network's embedding has no row for one of them.

    >>> padding_ids(load("embedded"))
    (None, 2)
    """
    pad, ends = model.network.generation_config.pad_token_id, model.eos_token_ids
    model.check_ids([] if pad is None else [pad], "padding id")
    return pad, model.check_ids(ends, "end id")[0] if ends else None


def pad_after_end(model: TransformersEngine, prompt: Prompt) -> list[int]:
    """Return the ids that fill a row which ended before the others of its batch.

    The first of two rows must end at once and may not end again; the second continues for three
    tokens more. Raises LookupError if the model has no end-of-sequence token.

    >>> pad_after_end(load("embedded"), "The capital of Japan is")
    [2, 2, 2]
    """
    if not model.eos_token_ids:
        raise LookupError("the model has no end-of-sequence token")
    ids = model.encode_prompt(prompt)
    inputs = torch.tensor([ids, ids], device=model.device)
    end = model.eos_token_ids[0]

    def end_first_row_only(rows: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, model.eos_token_ids] = -torch.inf
        if rows.shape[1] == len(ids):
            scores[0] = -torch.inf
            scores[0, end] = 0.0
        return scores

    output = model.network.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        logits_processor=[end_first_row_only],
        max_new_tokens=4,
    )
    row: list[int] = output[0, len(ids) + 1 :].tolist()
    return row
