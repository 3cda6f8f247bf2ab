"""Compare scores of `generate()` with what its settings make of the logits."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from probes.engines.transformers.engine import TransformersEngine
from probes.schema.evidence.settings import UsedSettings
from probes.schema.sampling import Sampling
from probes.stats.penalty_reference import apply_penalties
from probes.stats.rounding import differs_beyond_rounding
from probes.stats.sampling_reference import apply_filters

STEPS = 2

FILTER_ROUNDING = 1e-4
"""Share by which rounding may move a float32 sum of probabilities."""

UNREFERENCED: dict[str, Any] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "penalty_alpha": 0.0,
    "dola_layers": None,
    "constraints": None,
    "force_words_ids": None,
    "guidance_scale": 1.0,
    "typical_p": 1.0,
    "top_h": None,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "watermarking_config": None,
    "renormalize_logits": False,
    "prompt_lookup_num_tokens": None,
    "assistant_early_exit": None,
    "token_healing": False,
    "use_mtp": False,
}
"""Settings that change scores in a way for which there is no reference here, with the values at
which they do not."""


def find_wrong_scores(
    model: TransformersEngine, ids: Sequence[int], used: UsedSettings
) -> tuple[str, list[str]]:
    """Compare the scores of a call without settings with what the listed settings make of logits.

    Returns a description of the first step that differs, empty if none does, and the settings whose
    effect has no reference: with any of these nothing is compared.
    """
    settings = {setting.name: setting.value for setting in used.used_settings}
    beyond = [
        name for name, neutral in UNREFERENCED.items() if settings.get(name) not in (None, neutral)
    ]
    if beyond:
        return "", beyond
    inputs = torch.tensor([[*ids]], device=model.device)
    more = {"tokenizer": model.tokenizer} if settings.get("stop_strings") else {}
    devices = [model.device] if model.device.type == "cuda" else []
    with (
        warnings.catch_warnings(),
        torch.inference_mode(),
        torch.random.fork_rng(devices),  # draws after this one are as without it
    ):
        torch.manual_seed(0)
        warnings.simplefilter("ignore")
        out = model.network.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=STEPS,
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
            **more,
        )
    text = out.sequences[0].tolist()
    for step, (logits, scores) in enumerate(zip(out.logits, out.scores, strict=True)):
        before, found = logits[0].float().cpu(), scores[0].float().cpu()
        # Rounding moves the sum that top-p compares with p: a token at that line may come or not.
        bounds = [
            _apply(before, text[: len(ids) + step], settings, len(ids), share)
            for share in (1 - FILTER_ROUNDING, 1 + FILTER_ROUNDING)
        ]
        wrong = differs_beyond_rounding(found, bounds[0], before)
        wrong &= differs_beyond_rounding(found, bounds[1], before)
        if wrong.any():
            token = int(wrong.nonzero()[0])
            return (
                f"token {step}: the score of {model.decode([token])!r} is "
                f"{float(found[token]):.6g}, and {float(bounds[0][token]):.6g} by these settings"
            ), []
    return "", []


def _apply(
    logits: torch.Tensor,
    ids: list[int],
    settings: Mapping[str, Any],
    prompt_tokens: int,
    share: float,
) -> torch.Tensor:
    """Return logits as settings change them; `share` multiplies the limits of top-p and min-p."""
    ends = settings.get("eos_token_id")
    scores = apply_penalties(
        logits,
        ids,
        settings,
        prompt_tokens=prompt_tokens,
        ends=[] if ends is None else ends if isinstance(ends, list) else [ends],
        longest=prompt_tokens + STEPS,
    )
    if not settings.get("do_sample"):
        return scores
    top_p = settings.get("top_p", 1.0)
    sampling = Sampling(
        temperature=settings.get("temperature", 1.0),
        top_k=settings.get("top_k", 0),
        top_p=min(1.0, share * top_p) if top_p < 1 else None,
        min_p=min(1.0, share * settings.get("min_p", 0.0)),
    )
    return apply_filters(scores, sampling)
