"""Search texts with beams, in the form that is recorded, and check their scores."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from probes._util.text import quote
from probes.measure.settings import own_settings
from probes.schema.recorded_output import RecordedBeam, RecordedBeams
from probes.stats.beam_reference import follow_beams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.base import Prompt
    from probes.engines.transformers.engine import TransformersEngine

BEAMS = 3
LENGTH = 10
DECIMALS = 6
"""Decimal places of a recorded score."""


@dataclass(frozen=True)
class FoundBeams:
    """What beam search found after a prompt."""

    outputs: RecordedBeams
    closest: float  # the distance of sums by which a candidate was nearest to being kept or dropped
    wrong: str  # how texts and scores are not those of their definition; empty if they are
    logits: torch.Tensor  # along all beams, from a pass of their own: (tokens, vocabulary)
    own_scores: list[float]  # the beams' scores by that pass


@torch.inference_mode()
def search_texts(model: TransformersEngine, prompts: Sequence[Prompt]) -> list[FoundBeams]:
    """Search texts of ten tokens with three beams, for all prompts in one batch, without an end.

    >>> from probes import load
    >>> (found,) = search_texts(load("embedded"), ["The capital of Japan is"])
    >>> [beam.text[:6] for beam in found.outputs.beams], found.wrong
    (['Tokyo.', 'Tokyo.', 'Tokyo.'], '')
    """
    ids = [model.encode_prompt(prompt) for prompt in prompts]
    width = max(map(len, ids))
    rows = torch.tensor([[each[0]] * (width - len(each)) + each for each in ids])
    mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in ids])
    with own_settings(model.network), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = model.network.generate(
            rows.to(model.device),
            attention_mask=mask.to(model.device),
            pad_token_id=0,
            do_sample=False,
            num_beams=BEAMS,
            num_return_sequences=BEAMS,
            length_penalty=1.0,
            max_new_tokens=LENGTH,
            return_dict_in_generate=True,
            output_scores=True,
        )
    steps = torch.stack([step.float().cpu() for step in out.scores])
    texts, scores = out.sequences[:, width:].tolist(), out.sequences_scores.tolist()
    found = []
    for number, prompt_ids in enumerate(ids):
        rows_of = slice(number * BEAMS, (number + 1) * BEAMS)
        found.append(_check(model, prompt_ids, texts[rows_of], scores[rows_of], steps[:, rows_of]))
    return found


def _check(
    model: TransformersEngine,
    prompt_ids: list[int],
    texts: list[list[int]],
    scores: list[float],
    steps: torch.Tensor,
) -> FoundBeams:
    expected = follow_beams(steps)
    wrong = ""
    for rank, (ids, text, mean, score) in enumerate(
        zip(expected.ids, texts, expected.scores, scores, strict=True), start=1
    ):
        # Sums in float32: one rounding a token.
        rounding = 2 * LENGTH * torch.finfo(torch.float32).eps * max(1.0, LENGTH * abs(mean))
        ordered = expected.closest > rounding and text != ids and abs(mean - score) > rounding
        if not wrong and (abs(mean - score) > rounding or ordered):
            wrong = (
                f"beam {rank} is {quote(model.decode(text))} with a score of {score:.6g}; by its "
                f"own log-probabilities it is {quote(model.decode(ids))} with a mean of {mean:.6g}"
            )
    logits = model.logits_after(prompt_ids, texts)
    first = model.logits(prompt_ids)[-1:].expand(len(texts), 1, -1)
    along = torch.cat([first, logits[:, :-1]], dim=1)
    chosen = torch.tensor(texts).unsqueeze(-1)
    own = along.double().log_softmax(dim=-1).gather(-1, chosen).mean(dim=(1, 2))
    outputs = RecordedBeams(
        prompt_ids=tuple(prompt_ids),
        beams=tuple(
            RecordedBeam(
                ids=tuple(text),
                text=model.decode(text, skip_special_tokens=True),
                score=round(score, DECIMALS),
            )
            for text, score in zip(texts, scores, strict=True)
        ),
    )
    return FoundBeams(outputs, expected.closest, wrong, along.flatten(0, 1), own.tolist())
