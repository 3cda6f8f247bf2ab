"""Draw tokens with drafts, and test the draws against the law of the network that is drafted for.

The library drafts for one text at a time, so that draws from a real network take long. A small one
is built whose next token depends on the last one alone: its law is known, one long text holds as
many draws as it has tokens, and a law taken from the wrong place gives tokens that it forbids.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.generation import utils

from probes.errors import UndecidableError
from probes.measure.drafts import follow_drafts, watch_drafts
from probes.schema.evidence.texts import DraftedText, DraftStep
from probes.schema.sampling import Sampling
from probes.stats.goodness_of_fit import (
    LOOKS,
    Fit,
    can_stop,
    fit_in_parts,
    goodness_of_fit,
)
from probes.stats.sampling_reference import log_probabilities

TOKENS = 4
"""Tokens that may come; one more ends a text, and never does."""

SAMPLING = Sampling(temperature=0.5, top_k=3)
"""Settings that count in both networks: without them other tokens come, and more of them."""

TARGET = (0.0, 0.40, 0.35, 0.25)
"""Probability, under the settings, of the token so many places further on than the last."""

DRAFT = (0.22, 0.50, 0.28, 0.0)
"""The same of another network: it proposes what the first one forbids."""

ROWS = ((0.0, 0.40, 0.35, 0.25), (0.1, 0.2, 0.3, 0.4), (0.25, 0.25, 0.0, 0.5))
"""Laws of the tokens after two drafted ones, and of each of these, for the rule alone."""

DRAFTED = ((0.05, 0.10, 0.30, 0.55), (0.4, 0.3, 0.2, 0.1))
"""Laws that those two are drafted from."""

WAYS = ("prompt lookup", "the model as its own assistant", "another assistant")


@torch.inference_mode()
def fit_drafted_tokens(way: str, *, count: int, seed: int) -> tuple[Fit, DraftedText]:
    """Draw tokens with drafts made in one of `WAYS`, and test them against the target's law.

    Fewer are drawn where nothing speaks against it. The first steps of the first text come with it;
    its tokens are numbers.

    >>> fit, drafted = fit_drafted_tokens("another assistant", count=50, seed=0)
    >>> fit.outside, drafted.prompt, len(drafted.steps[0].drafted)
    (0, ' 0 1 2 3 0 1 2 3', 3)
    """
    target = build_network(TARGET)
    if way == "prompt lookup":
        arguments: dict[str, Any] = {"prompt_lookup_num_tokens": 3}
    else:
        other = target if way == "the model as its own assistant" else build_network(DRAFT)
        arguments = {"assistant_model": other}
        other.generation_config.num_assistant_tokens = 5 if other is target else 3
        other.generation_config.num_assistant_tokens_schedule = "constant"
        # Whatever was drafted, another token is.
        other.generation_config.assistant_confidence_threshold = 0.0
    prompt = torch.arange(TOKENS).repeat(2).unsqueeze(0)
    transformers.set_seed(seed)

    first: list[DraftStep] = []

    def draw(number: int) -> npt.NDArray[np.int64]:
        with watch_drafts() as drafts:
            text = target.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=number,
                **SAMPLING.arguments(),
                **arguments,
            )
        if not first:
            first.extend(follow_drafts(drafts, text[0].tolist(), lambda ids: f" {ids[-1]}"))
        steps = (text[0, prompt.shape[1] - 1 :].diff() % TOKENS).clamp_max(TOKENS)
        return torch.bincount(steps, minlength=TOKENS).numpy()

    law = log_probabilities(_make_logits(TARGET), SAMPLING).exp()
    fit = fit_in_parts(draw, law.numpy(), count)
    begun = "".join(f" {token}" for token in prompt[0].tolist())
    return fit, DraftedText(way=way, prompt=begun, steps=first)


@torch.inference_mode()
def fit_acceptance(*, count: int, seed: int) -> list[Fit]:
    """Apply the library's rule, which drafts to keep, to drafts of two tokens, `count` times.

    Tested are the first token, the second where the first draft is kept, and the third where both
    are. Raises UndecidableError where the library has no function of its name.

    >>> [fit.outside for fit in fit_acceptance(count=50, seed=0)]
    [0, 0, 0]
    """
    rule: Any = getattr(utils, "_speculative_sampling", None)
    if rule is None:
        raise UndecidableError(
            f"transformers {transformers.__version__} shows no rule of which drafts to keep"
        )
    named = {"is_done_candidate": False}  # of older versions
    extra = {key: v for key, v in named.items() if key in inspect.signature(rule).parameters}
    transformers.set_seed(seed)
    laws, drafted = (torch.tensor([each]) for each in (ROWS, DRAFTED))
    drafts = torch.multinomial(drafted[0], count, replacement=True).T.unsqueeze(1)
    counts = np.zeros(laws[0].shape, dtype=np.int64)
    true = laws[0].double().numpy()
    # As many second and third tokens will come as drafts are kept.
    kept = np.minimum(true[: len(DRAFTED)], DRAFTED).sum(axis=-1)
    planned = [int(count * share) for share in np.cumprod([1.0, *kept])]
    looks = [int(share * count) for share in LOOKS]
    for number, draft in enumerate(drafts, 1):
        tokens, _ = rule(draft, drafted.log(), draft.shape[1], laws.log(), **extra)
        for seen, token in zip(counts, tokens[0].tolist(), strict=False):
            seen[token] += 1
        if number in looks and all(map(can_stop, counts, true, planned)):
            break
    return [
        goodness_of_fit(seen, law, planned=number)
        for seen, law, number in zip(counts, true, planned, strict=True)
    ]


def build_network(law: Sequence[float]) -> Any:
    """Build a network whose next token depends on the last one alone, by a law of their distance.

    >>> network = build_network(TARGET)
    >>> logits = network(torch.tensor([[2, 3]])).logits[0].detach()
    >>> log_probabilities(logits, SAMPLING).exp().round(decimals=2).tolist()
    [[0.35, 0.25, 0.0, 0.4, 0.0], [0.4, 0.35, 0.25, 0.0, 0.0]]
    """
    width = 8
    config = LlamaConfig(
        vocab_size=TOKENS + 1,
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=TOKENS,
        pad_token_id=None,
    )
    network = LlamaForCausalLM(config).eval()
    logits = _make_logits(law)
    with torch.no_grad():
        for each in network.parameters():
            each.zero_()
        # A token's embedding is 1 at its own place, and √width after the last norm.
        network.model.embed_tokens.weight.fill_diagonal_(1.0)
        network.model.norm.weight.fill_(1.0)
        head = torch.full((TOKENS + 1, width), float(logits.min()) - 1.0)
        for last in range(TOKENS):
            for step, logit in enumerate(logits):
                head[(last + step) % TOKENS, last] = logit
        network.lm_head.weight.copy_(head / math.sqrt(width))
    network.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=TOKENS)
    return network


def _make_logits(law: Sequence[float]) -> torch.Tensor:
    """Return logits that have this law under the settings: what it forbids, top-k drops."""
    logits = SAMPLING.temperature * torch.tensor(law).log()
    least = logits[logits.isfinite()].min()
    return torch.where(logits.isfinite(), logits, least - 0.5)
