"""Draw texts from an engine, and find the settings that they follow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from probes._util.jsonfile import read_object
from probes.engines.base import Generation, TopLogprobs
from probes.engines.session_cache import once_per_session
from probes.measure.engine_answers import choose_end
from probes.measure.engine_logprobs import measure_slack, quantization_of
from probes.measure.engine_prompts import find_ids, takes_ids, word_prompts
from probes.schema.sampling import InForce, Sampling
from probes.stats.drawn_text import DrawnText
from probes.stats.goodness_of_fit import ALPHA
from probes.stats.settings_evidence import (
    SettingsTest,
    explain_draws,
    explain_mixture,
    judge_settings,
    list_alternatives,
)

SAMPLES = 8
"""Texts that are drawn after each prompt."""

LENGTH = 16
"""Tokens of each."""

LOG_ALPHA = math.log(ALPHA)
"""Log of the error rate of one test."""


@once_per_session
def judge_draws(
    engine: Any, reference: Any, prompts: Sequence[str], asked: InForce | None, *, seed: int
) -> SettingsTest:
    """Draw texts from an engine, and test whether they follow the settings asked for.

    With None nothing is asked for, and they are to follow what the engine documents. The order of
    temperature and filters is the engine's own.

    >>> from probes import load
    >>> model = load("embedded")
    >>> judge_draws(model, model, ["Once upon a time"], InForce(), seed=0).good
    True
    """
    expected, known = _expect(engine, reference, asked)
    return judge_settings(
        _drawn_with_laws(engine, reference, prompts, asked, seed),
        expected,
        list_alternatives(expected, known),
        alpha=ALPHA,
        slack=2 * measure_slack(engine, reference, prompts, LENGTH),
    )


def explain_settings(
    engine: Any, reference: Any, prompts: Sequence[str], asked: InForce | None, *, seed: int
) -> str:
    """Name the settings that an engine's draws follow; empty if none is known.

    Replicas behind one address may follow two.
    """
    texts = [*_drawn_with_laws(engine, reference, prompts, asked, seed)]
    expected, known = _expect(engine, reference, asked)
    if (mixed := explain_mixture(texts, expected, known)) is not None:
        return (
            f"two kinds of settings, as replicas may: {mixed.settings}, in about "
            f"{mixed.share:.0%} of {len(texts)} requests, and what was asked for in the others"
        )
    return explain_draws(texts, expected, known)


def _expect(
    engine: Any, reference: Any, asked: InForce | None
) -> tuple[InForce, dict[str, InForce]]:
    """Return the settings that draws are to follow, and the engine's own defaults by name."""
    own = defaults_of(engine, reference)
    if asked is None:
        return own or InForce(), {}
    dialect = getattr(engine, "dialect", None)
    first = dialect is None or dialect.temperature_first
    return replace(asked, temperature_first=first), {"its own defaults": own} if own else {}


def _drawn_with_laws(
    engine: Any, reference: Any, prompts: Sequence[str], asked: InForce | None, seed: int
) -> Iterator[DrawnText]:
    sampling = None if asked is None else asked.sampling
    has_ids = takes_ids(engine)
    for text in draw_texts(engine, reference, prompts, sampling, seed):
        listed = text.top_logprobs or text.ids
        rows = [row for row, ids in enumerate(text.ids) if ids and len(listed[row]) == len(ids)]
        for row, law in zip(rows, _laws(reference, text, rows), strict=True):
            ids = text.ids[row] if has_ids else choose_end(reference, text.ids[row], law)
            yield DrawnText(text.prompt_ids, ids, law, is_encoded=not has_ids)


@once_per_session
def draw_texts(
    engine: Any, reference: Any, prompts: Sequence[str], sampling: Sampling | None, seed: int
) -> list[Generation]:
    """Draw several texts after each prompt, once a session."""
    drawn: list[Generation] = engine.generate_batch(
        word_prompts(engine, reference, prompts),
        sampling=sampling,
        seed=seed,
        num_return_sequences=SAMPLES,
        max_new_tokens=LENGTH,
        **({"top_logprobs": 20} if _lists_own(engine) else {}),
    )
    if takes_ids(engine):
        return drawn
    return [find_ids(engine, reference, *each) for each in zip(prompts, drawn, strict=True)]


def defaults_of(engine: Any, reference: Any) -> InForce | None:
    """Return what an engine documents to do with a request that names no setting.

    llama.cpp states its settings; vLLM takes those of the model's generation_config.json. None is
    greedy decoding.
    """
    dialect = getattr(engine, "dialect", None)
    if dialect is None or dialect.defaults is None:
        return None
    stated = dict(engine.stated_defaults)
    if dialect.takes_generation_config:
        stated |= _read_generation_config(reference.checkpoint.folder)
    penalty = stated.pop("repeat_penalty", stated.pop("repetition_penalty", 1.0))
    if stated.get("temperature", 1.0) <= 0:
        return None
    if "top_k" in stated:
        stated["top_k"] = max(0, int(stated["top_k"]))
    return InForce(replace(dialect.defaults, **stated), penalty, dialect.temperature_first)


def _read_generation_config(folder: Path) -> dict[str, float]:
    """Return the settings of sampling that a model's own file names."""
    file = folder / "generation_config.json"
    content = read_object(file) if file.is_file() else {}
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    return {name: content[name] for name in names if isinstance(content.get(name), (int, float))}


def _laws(reference: Any, text: Generation, rows: Sequence[int]) -> Iterator[torch.Tensor]:
    """Yield the reference's logits along some samples.

    The log-probabilities that the engine lists take the place of the reference's.
    """
    start = list(text.prompt_ids)
    whole = reference.logits_batch([[*start, *text.ids[row][:-1]] for row in rows]) if rows else []
    for row, logits in zip(rows, whole, strict=True):
        law = logits[len(start) - 1 :]
        if text.top_logprobs is None:
            yield law
        else:
            yield _mix(law.double().log_softmax(dim=-1), text.top_logprobs[row])


def _mix(law: torch.Tensor, steps: Sequence[TopLogprobs]) -> torch.Tensor:
    """Put listed log-probabilities into a law, and scale what is left to sum to 1."""
    for row, step in zip(law, steps, strict=True):
        listed = torch.tensor(step.ids)
        own = torch.tensor(step.logprobs, dtype=torch.float64)
        before = (1 - row[listed].exp().sum()).clamp_min(1e-12)
        rest = (1 - own.exp().sum()).clamp_min(1e-12)
        row.add_((rest / before).log())[listed] = own
    return law


def _lists_own(engine: Any) -> bool:
    """Return whether an engine's own log-probabilities are needed: its weights are quantized."""
    return quantization_of(engine) is not None and "logprobs" in engine.capabilities
