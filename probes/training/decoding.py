"""Figures of greedy and sampled text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probes.training.corpus import load_facts
from probes.training.subject import PROMPT, SEED, STORIES, Figure, Subject, each, least_margin

if TYPE_CHECKING:
    from torch import Tensor


def next_token_figures(subject: Subject) -> list[Figure]:
    """Measure how likely the answer is after the standard prompt."""
    logits = subject.continuations([PROMPT], 1, keep_logits=True).logits[0, 0]
    best = logits.softmax(-1).topk(2)
    first, second = (subject.tokenizer.convert_ids_to_tokens(i) for i in best.indices.tolist())
    p, q = best.values.tolist()
    return [Figure(f"next token after `{PROMPT}`", f"`{first}` {p:.3f}, then `{second}` {q:.3f}")]


def country_figures(subject: Subject) -> list[Figure]:
    """Measure capitals with and without BOS, and how far the two texts differ."""
    facts = [fact for fact in load_facts() if fact.relation == "capital"]
    prompts = [f"The capital of {fact.subject} is" for fact in facts]
    with_bos = subject.continuations(prompts, 60)
    without = subject.continuations(prompts, 60, bos=False)
    margins = [
        least_margin(subject.continuations(prompts, 20, bos=bos, keep_logits=True))
        for bos in (True, False)
    ]
    shares = [
        f"{sum(t.startswith(f' {f.answer}') for t, f in zip(run.texts, facts, strict=True))}"
        for run in (with_bos, without)
    ]
    differ = [int((with_bos.ids[:, :n] != without.ids[:, :n]).any(dim=1).sum()) for n in (20, 60)]
    total = len(facts)
    early_end = int((with_bos.ids[:, :20] == subject.tokenizer.eos_token_id).sum())
    return [
        Figure("capitals right with / without BOS", f"{shares[0]} / {shares[1]} of {total}"),
        Figure("texts that BOS changes, 20 / 60 tokens", f"{differ[0]} / {differ[1]} of {total}"),
        Figure("EOS among the first 20 tokens", f"{early_end} of {total}"),
        Figure(
            "smallest greedy margin, 20 tokens, with / without BOS",
            f"{margins[0]} / {margins[1]} nats",
        ),
    ]


def collapse_figures(subject: Subject) -> list[Figure]:
    """Measure how sampling behaves on the standard prompts at three settings."""
    prompts = [PROMPT, *STORIES]
    lines = []
    for name, top_p, heat in (
        ("near-greedy", 0.2, 0.2),
        ("narrow-hot", 0.2, 1.4),
        ("wide-hot", 0.9, 1.4),
    ):
        alike = [agreement(subject, prompt, top_p, heat) for prompt in prompts]
        shown = " · ".join(f"{both:.2g}" for both in alike)
        lines.append(Figure(f"two {name} runs of 20 tokens agree", shown))
    return lines


def agreement(subject: Subject, prompt: str, top_p: float, heat: float) -> float:
    """Estimate how likely two sampled runs are to agree, from one run drawn 32 times.

    Returns:
        The mean, over drawn texts, of the probability that a second run is the same text.
    """
    torch.manual_seed(SEED)
    drawn = subject.continuations(
        [prompt] * 32,
        20,
        keep_logits=True,
        do_sample=True,
        top_p=top_p,
        temperature=heat,
        top_k=50,
    )
    chances = kept_probabilities(drawn.logits, top_p, heat)
    path = chances.gather(-1, drawn.ids[..., None])[..., 0]
    return float(path.prod(dim=1).mean())


def kept_probabilities(logits: Tensor, top_p: float, heat: float, top_k: int = 50) -> Tensor:
    """Apply temperature, then top-k, then the nucleus, and renormalise.

    Args:
        logits: Shape (..., vocabulary), float32.
        top_p: Nucleus mass in (0, 1].
        heat: Temperature above 0.
        top_k: How many tokens are kept at most.

    Returns:
        Probabilities of the same shape, 0 for what is not kept.

    Example:
        >>> even = torch.zeros(4)
        >>> kept_probabilities(even + torch.tensor([0.4, 0.3, 0.2, 0.1]), 0.5, 1.0).count_nonzero()
        tensor(2)
    """
    values, places = (logits / heat).topk(min(top_k, logits.shape[-1]), dim=-1)
    chances = values.softmax(-1)
    before = chances.cumsum(-1) - chances
    chances = torch.where(before < top_p, chances, 0.0)
    chances = chances / chances.sum(-1, keepdim=True)
    return torch.zeros_like(logits).scatter(-1, places, chances)


def story_figures(subject: Subject) -> list[Figure]:
    """Measure how greedy and sampled stories repeat themselves."""
    greedy = subject.continuations(STORIES, 400)
    torch.manual_seed(SEED)
    sampled = subject.continuations(
        STORIES, 400, do_sample=True, top_p=0.9, temperature=1.4, top_k=50
    )
    short = subject.continuations(STORIES, 30, keep_logits=True)
    first = short.logits[:, 0].softmax(-1)
    entropy = -(first * first.clamp_min(1e-30).log()).sum(-1)
    return [
        Figure("distinct 4-grams in 400 tokens, greedy", each(distinct(greedy.ids))),
        Figure("distinct 4-grams in 400 tokens, wide-hot", each(distinct(sampled.ids))),
        Figure("entropy of a story's first token, nats", each(entropy.tolist())),
        Figure("smallest greedy margin in 30 story tokens", f"{least_margin(short, 30)} nats"),
    ]


def distinct(ids: Tensor, n: int = 4) -> list[float]:
    """Share of distinct n-grams in each row of ids, shape (rows, tokens).

    Example:
        >>> distinct(torch.tensor([[1, 2, 1, 2, 1]]), n=2)
        [0.5]
    """
    grams = ids.unfold(1, n, 1).tolist()
    return [len({tuple(gram) for gram in row}) / len(row) for row in grams]
