"""Draw texts from an engine, and find the settings that they follow."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from probes.engines.session_cache import once_per_session
from probes.schema.sampling import InForce, Sampling
from probes.stats.goodness_of_fit import ALPHA
from probes.stats.settings_evidence import (
    DrawnText,
    SettingsTest,
    explain_draws,
    judge_settings,
    list_alternatives,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probes.engines.base import Generation, TopLogprobs

SAMPLES = 8
"""Texts that are drawn after each prompt."""

LENGTH = 16
"""Tokens of each."""

LOG_ALPHA = math.log(ALPHA)
"""Log of the error rate of one test."""

SLACK = 0.1
"""How far below the border of a filter, in nats, a token may lie that rounding lets in."""


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
    texts = _drawn_with_laws(engine, reference, prompts, asked, seed)
    own = defaults_of(engine, reference)
    expected = own if asked is None else replace(asked, temperature_first=own.temperature_first)
    known = {} if asked is None else {"its own defaults": own}
    return judge_settings(
        texts,
        expected,
        list_alternatives(expected, known),
        alpha=ALPHA,
        slack=SLACK,
    )


def explain_settings(
    engine: Any, reference: Any, prompts: Sequence[str], asked: InForce | None, *, seed: int
) -> str:
    """Name the settings that an engine's draws follow; empty if none is known."""
    own = defaults_of(engine, reference)
    expected = own if asked is None else replace(asked, temperature_first=own.temperature_first)
    known = {} if asked is None else {"its own defaults": own}
    texts = [*_drawn_with_laws(engine, reference, prompts, asked, seed)]
    return explain_draws(texts, expected, known)


def _drawn_with_laws(
    engine: Any, reference: Any, prompts: Sequence[str], asked: InForce | None, seed: int
) -> Iterator[DrawnText]:
    sampling = None if asked is None else asked.sampling
    for text in draw_texts(engine, reference, prompts, sampling, seed):
        rows = [ids for ids in text.ids if ids]
        for ids, law in zip(rows, _laws(reference, text, rows), strict=True):
            yield DrawnText(text.prompt_ids, ids, law)


@once_per_session
def draw_texts(
    engine: Any,
    reference: Any,
    prompts: Sequence[str],
    sampling: Sampling | None,
    seed: int,
) -> list[Generation]:
    """Draw several texts after each prompt, once a session."""
    takes_ids = "token-ids" in engine.capabilities
    ids = [reference.encode_prompt(prompt) if takes_ids else prompt for prompt in prompts]
    drawn: list[Generation] = engine.generate_batch(
        ids,
        sampling=sampling,
        seed=seed,
        num_return_sequences=SAMPLES,
        max_new_tokens=LENGTH,
        **({"top_logprobs": 20} if _is_quantized(engine) else {}),
    )
    if all(row for text in drawn for row in text.ids):
        return drawn
    return [_find_ids(reference, *each) for each in zip(prompts, drawn, strict=True)]


def _find_ids(reference: Any, prompt: str, text: Generation) -> Generation:
    """Encode samples of a server that tells no ids; a text that cannot be encoded is left out."""
    start = reference.encode_prompt(prompt)
    whole = [reference.encode_prompt(prompt + sample) for sample in text.texts]
    ids = [row[len(start) :] if row[: len(start)] == start else [] for row in whole]
    return replace(text, prompt_ids=start, ids=ids)


def defaults_of(engine: Any, reference: Any) -> InForce:
    """Return what an engine documents to do with a request that names no setting.

    llama.cpp states its settings; vLLM takes those of the model's generation_config.json.
    """
    dialect = getattr(engine, "dialect", None)
    if dialect is None:  # transformers: greedy, which draws nothing
        return InForce()
    stated = Sampling(**engine.stated_defaults) if engine.stated_defaults else dialect.defaults
    penalty = 1.0
    if dialect.takes_generation_config:
        own = reference.network.generation_config
        named = {
            name: getattr(own, name, None) for name in ("temperature", "top_p", "top_k", "min_p")
        }
        stated = replace(stated, **{n: v for n, v in named.items() if v is not None})
        penalty = float(own.repetition_penalty or 1.0)
    return InForce(stated, penalty, dialect.temperature_first)


def _laws(
    reference: Any, text: Generation, rows: Sequence[Sequence[int]]
) -> Iterator[torch.Tensor]:
    """Yield the reference's logits along samples.

    The log-probabilities that the engine lists take the place of the reference's.
    """
    start = list(text.prompt_ids)
    listed: Sequence[list[TopLogprobs] | None] = text.top_logprobs or [None] * len(rows)
    whole = reference.logits_batch([[*start, *ids[:-1]] for ids in rows])
    for logits, steps in zip(whole, listed, strict=True):
        law = logits[len(start) - 1 :]
        yield law if steps is None else _mix(law.double().log_softmax(dim=-1), steps)


def _mix(law: torch.Tensor, steps: Sequence[TopLogprobs]) -> torch.Tensor:
    """Put listed log-probabilities into a law, and scale what is left to sum to 1."""
    for row, step in zip(law, steps, strict=True):
        listed = torch.tensor(step.ids)
        own = torch.tensor(step.logprobs, dtype=torch.float64)
        before = (1 - row[listed].exp().sum()).clamp_min(1e-12)
        rest = (1 - own.exp().sum()).clamp_min(1e-12)
        row.add_((rest / before).log())[listed] = own
    return law


def _is_quantized(engine: Any) -> bool:
    return getattr(engine, "computes_quantized", None) is not None
