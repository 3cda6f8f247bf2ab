"""Search texts with beams, in the form that is recorded, and check their scores."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from probes._util.text import quote
from probes.engines.base import Generation, Prompt
from probes.engines.transformers.engine import TransformersEngine
from probes.measure.rounding_noise import RoundingNoise, eager_attention, logits_along, move_results
from probes.measure.settings import own_settings
from probes.schema.recorded_output import RecordedBeam, RecordedBeams
from probes.stats.beam_reference import follow_beams

BEAMS = 3
LENGTH = 10
DECIMALS = 6
"""Decimal places of a recorded score."""

RUNS = 4
"""How often the texts' scores are computed with moved results."""


class BeamsRefusedError(Exception):
    """The library does not search with beams here; the message has its words."""


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

    Raises BeamsRefusedError where this version of the library refuses.

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
        try:
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
        except (NotImplementedError, ValueError) as error:
            raise BeamsRefusedError(" ".join(str(error).split())) from error
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
    along = _compute_along(model, prompt_ids, texts)
    own = [_score(text, logits) for text, logits in zip(texts, along, strict=True)]
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
    return FoundBeams(outputs, expected.closest, wrong, along.flatten(0, 1), own)


@torch.inference_mode()
def score_texts(model: TransformersEngine, texts: RecordedBeams) -> list[float]:
    """Return the mean log-probability of each text's tokens, by one pass without a search.

    >>> from probes import load
    >>> (found,) = search_texts(load("embedded"), ["The capital of Japan is"])
    >>> scores = score_texts(load("embedded"), found.outputs)
    >>> [round(beam.score - score, 4) for beam, score in zip(found.outputs.beams, scores)]
    [0.0, 0.0, 0.0]
    """
    rows = [list(beam.ids) for beam in texts.beams]
    along = _compute_along(model, list(texts.prompt_ids), rows)
    return [_score(row, logits) for row, logits in zip(rows, along, strict=True)]


@torch.inference_mode()
def measure_noise(model: TransformersEngine, found: Sequence[RecordedBeams]) -> float:
    """Return the largest change of a text's score that rounding explains, in nats.

    Scores are computed with every result moved by what rounding may move it, several times. What a
    search adds is the rounding of a log-softmax in float32, of a few units of the last place, and
    the decimals of a recorded score.

    The smallest fault seen on the embedded model: logits scaled by 0.98 in float32, and by 0.5 in
    bfloat16.

    >>> from probes import load
    >>> found = search_texts(load("embedded"), ["The capital of Japan is"])
    >>> 0 < measure_noise(load("embedded"), [each.outputs for each in found]) < 0.001
    True
    """
    beams = [(each.prompt_ids, beam.ids) for each in found for beam in each.beams]
    texts = [Generation([*prompt_ids], [[*ids]], [""]) for prompt_ids, ids in beams]
    with eager_attention(model.network):
        base = logits_along(model, texts)
        moving = move_results(model.network, None)
        largest = 0.0
        for _ in range(RUNS):
            with moving():
                moved = logits_along(model, texts)
            for (_, ids), one, other in zip(beams, base, moved, strict=True):
                largest = max(largest, abs(_score(ids, one) - _score(ids, other)))
    noise = RoundingNoise(largest, len(texts), RUNS * len(texts))
    size = max(1.0, *(float(each.abs().max()) for each in base))
    return noise.tolerance + 8 * torch.finfo(torch.float32).eps * size + 10.0**-DECIMALS


def _compute_along(
    model: TransformersEngine, prompt_ids: list[int], texts: list[list[int]]
) -> torch.Tensor:
    """Return the logits that each token of each text has: (texts, tokens, vocabulary)."""
    logits = model.logits_after(prompt_ids, texts)
    first = model.logits(prompt_ids)[-1:].expand(len(texts), 1, -1)
    return torch.cat([first, logits[:, :-1]], dim=1)


def _score(ids: Sequence[int], logits: torch.Tensor) -> float:
    chosen = torch.tensor(ids).unsqueeze(-1)
    return float(logits.double().log_softmax(dim=-1).gather(-1, chosen).mean())
