"""The logits a record keeps for comparisons: of the shared prompts and of greedy texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import JsonValue

from probes.schema.comparison import FirstToken
from probes.schema.evidence.distributions import KeptPrompts, PromptLogprobs
from probes.schema.evidence.texts import KeptTexts
from probes.schema.record import Record
from probes.schema.recorded_output import RecordedText

KEPT_TO = 2e-4
"""How far apart two equal log-probabilities may be read from records: four decimals, twice."""

LEAST_NOISE = 1e-6
"""Assumed where a run measured none: the last decimals of what a record holds."""

NOISIER = 4
"""How many times as noisy as the other a run may be for its noise to count."""


@dataclass(frozen=True)
class KeptLogits:
    """The logits that one record keeps.

    Another batch moved a logit by `noise`; rounding can move one by `tolerance`.
    """

    prompts: dict[str, PromptLogprobs] = field(default_factory=dict)
    texts: list[RecordedText] = field(default_factory=list)
    noise: float = LEAST_NOISE
    tolerance: float = LEAST_NOISE


@dataclass(frozen=True)
class Noise:
    """What rounding explains: it moved a logit by `noise`, and can move one by `tolerance`."""

    noise: float
    tolerance: float

    @property
    def change(self) -> float:
        """The largest change of a log-probability that rounding explains.

        Another kernel may round more than another batch: four times what the batch does, for the
        logit and for the sum of all, up to what is possible. The record's own rounding is added.

        >>> round(Noise(noise=1e-4, tolerance=1.0).change, 6)
        0.001
        """
        return min(2 * self.tolerance, 8 * self.noise) + KEPT_TO


def read_kept_logits(record: Record) -> KeptLogits:
    """Return what a record keeps, without evidence of another shape."""
    found = KeptLogits()
    for claim in record.claims:
        for check in claim.evidence:
            kept = KeptPrompts.read(check.values)
            if kept is not None and kept.kept_prompts:
                found = KeptLogits(
                    {each.prompt: each for each in kept.kept_prompts if _is_aligned(each)},
                    found.texts,
                    _positive(kept.noise),
                    _positive(kept.tolerance),
                )
            texts = KeptTexts.read(check.values)
            if texts is not None:
                found.texts.extend(texts.kept_texts)
    return found


def combine_noise(old: KeptLogits, new: KeptLogits, *, same_dtype: bool) -> Noise:
    """Return what rounding explains; between two dtypes, that of the more precise one.

    If only one run measured it, that holds for both.

    >>> combine_noise(KeptLogits(noise=0.1), KeptLogits(noise=0.001), same_dtype=False).noise
    0.001
    """
    pick = max if same_dtype else min
    measured = [each for each in (old, new) if each.noise > LEAST_NOISE] or [old]
    tolerance = pick(each.tolerance for each in measured)
    noises = [each.noise for each in measured]
    # Cap the noise, so that a noisy run cannot widen its own tolerance.
    noise = min(pick(noises), NOISIER * min(noises))
    return Noise(min(noise, tolerance) if tolerance > LEAST_NOISE else noise, tolerance)


def find_first_token(
    old: str, new: str, texts: tuple[Sequence[RecordedText], Sequence[RecordedText]], noise: float
) -> FirstToken | None:
    """Return the first token that differs between two greedy texts, if their logits are kept.

    `old` may be longer than its text in `texts`; rounding moves a logit by `noise`.
    """
    for before in texts[0]:
        if not before.text or not old.startswith(before.text):
            continue
        for after in texts[1]:
            same_prompt = after.prompt_ids == before.prompt_ids
            if same_prompt and after.text and new.startswith(after.text):
                found = judge_first_token(before, after, noise)
                if found is not None:
                    return found  # else longer ones of the same prompt may be kept
    return None


def judge_first_token(old: RecordedText, new: RecordedText, noise: float) -> FirstToken | None:
    """Return the first token that differs between texts of one prompt; None if none does."""
    pairs = zip(old.ids, new.ids, strict=False)
    shorter = min(len(old.ids), len(new.ids))
    step = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    if step == len(old.ids) == len(new.ids):
        return None  # they differ later than logits are kept
    ids = tuple(text.ids[step] if step < len(text.ids) else None for text in (old, new))
    margins = [_margin(text, step, ids) for text in (old, new)]
    margin, at_least = sum(each for each, _ in margins), any(more for _, more in margins)
    return FirstToken(
        step=step,
        ids=(ids[0], ids[1]),
        margin=margin,
        at_least=at_least,
        noise=noise,
        near_tie=not at_least and margin <= 2 * noise,
    )


def _margin(text: RecordedText, step: int, ids: tuple[int | None, ...]) -> tuple[float, bool]:
    """Return the distance of two tokens' logits, and whether it may be larger."""
    if step >= len(text.top_ids) or not text.top_ids[step] or None in ids:
        return 0.0, True
    logits = dict(zip(text.top_ids[step], text.top_logits[step], strict=True))
    known = [logits[i] for i in ids if i in logits]
    if len(known) == len(ids):
        return abs(known[0] - known[1]), False
    return max(logits.values()) - min(logits.values()), True


def _is_aligned(prompt: PromptLogprobs) -> bool:
    """Whether all that is kept has a row for each position, and finite logits in it."""
    rows = (prompt.top_ids, prompt.top_logits, prompt.log_rest, prompt.likeliest)
    return all(len(row) == len(prompt.ids) for row in rows) and all(
        len(ids) == len(logits) > 0 and np.isfinite(logits).all() and rest < np.inf
        for ids, logits, rest in zip(
            prompt.top_ids, prompt.top_logits, prompt.log_rest, strict=True
        )
    )


def _positive(value: JsonValue) -> float:
    return float(value) if isinstance(value, float) and value > LEAST_NOISE else LEAST_NOISE
