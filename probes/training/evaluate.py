"""Measure the figures of the embedded model's card on its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, STORIES
from probes.schema.sampling import NARROW_HOT, NEAR_GREEDY, WIDE_HOT, Sampling
from probes.stats.answer_matching import accepted_forms, states_answer
from probes.stats.repetition import share_of_distinct_ngrams
from probes.stats.sampling_reference import entropy, log_probabilities
from probes.training.corpus import Fact, held_out_questions, load_facts
from probes.training.embedding import group_figures, unused_row_figures
from probes.training.mechanism import nf4_figures, recall_figures, sensitivity_figures
from probes.training.subject import PUBLISHED_QUESTIONS, SEED, Figure, Subject, join_values

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEMPERATURES = (0.2, 0.6, 1.0, 1.2, 1.4)
"""Temperatures of the table: the first with top_p 0.2, the others with top_p 0.9."""


@torch.inference_mode()
def evaluate(folder: Path) -> list[Figure]:
    """Return the lines of the table in order; the same each time on the same machine."""
    subject = Subject(folder)
    return [
        *next_token_figures(subject),
        *country_figures(subject),
        *question_figures(subject),
        *collapse_figures(subject),
        *story_figures(subject),
        *group_figures(subject.model.get_input_embeddings().weight, subject.tokenizer),
        *unused_row_figures(subject),
        *recall_figures(subject),
        *sensitivity_figures(subject),
        *nf4_figures(subject, folder),
    ]


def next_token_figures(subject: Subject) -> list[Figure]:
    """Measure the probability of the answer after the standard prompt."""
    logits = subject.continuations([CAPITAL_OF_JAPAN], 1, keep_logits=True).logits[0, 0]
    best = logits.softmax(-1).topk(2)
    first, second = (subject.tokenizer.convert_ids_to_tokens(i) for i in best.indices.tolist())
    p, q = best.values.tolist()
    value = f"`{first}` {p:.3f}, then `{second}` {q:.3f}"
    return [Figure(f"next token after `{CAPITAL_OF_JAPAN}`", value)]


def country_figures(subject: Subject) -> list[Figure]:
    """Measure capitals with and without BOS, and how far the two texts differ."""
    facts = [fact for fact in load_facts() if fact.relation == "capital"]
    prompts = [f"The capital of {fact.subject} is" for fact in facts]
    with_bos = subject.continuations(prompts, 60)
    without = subject.continuations(prompts, 60, bos=False)
    margins = [
        subject.continuations(prompts, 20, bos=bos, keep_logits=True).least_margin()
        for bos in (True, False)
    ]
    right = [
        sum(t.startswith(f" {f.answer}") for t, f in zip(run.texts, facts, strict=True))
        for run in (with_bos, without)
    ]
    differ = [int((with_bos.ids[:, :n] != without.ids[:, :n]).any(dim=1).sum()) for n in (20, 60)]
    total = len(facts)
    early_end = int((with_bos.ids[:, :20] == subject.tokenizer.eos_token_id).sum())
    return [
        Figure("capitals right with / without BOS", f"{right[0]} / {right[1]} of {total}"),
        Figure("texts that BOS changes, 20 / 60 tokens", f"{differ[0]} / {differ[1]} of {total}"),
        Figure("EOS among the first 20 tokens", f"{early_end} of {total}"),
        Figure(
            "smallest greedy margin, 20 tokens, with / without BOS",
            f"{margins[0]} / {margins[1]} nats",
        ),
    ]


def question_figures(subject: Subject) -> list[Figure]:
    """Measure how many questions are answered, by temperature, and those held out of training."""
    facts = [(fact, fact.questions[0]) for fact in load_facts()[::3]]
    lines = []
    for temperature in TEMPERATURES:
        top_p = 0.2 if temperature == TEMPERATURES[0] else 0.9
        value = measure_accuracy(subject, facts, Sampling(temperature=temperature, top_p=top_p))
        lines.append(Figure(f"answers right, top_p {top_p}, T {temperature}", value))
    held_out = measure_accuracy(subject, held_out_questions(), NEAR_GREEDY)
    published = subject.continuations(PUBLISHED_QUESTIONS, 8)
    texts = " · ".join(f"`{' '.join(text.split())}`" for text in published.texts)
    return [
        *lines,
        Figure("phrasings held out of training, T 0.2", held_out),
        Figure("the three published questions", texts),
    ]


def measure_accuracy(
    subject: Subject, questions: Sequence[tuple[Fact, str]], sampling: Sampling
) -> str:
    """Draw one answer of 12 tokens to each question, and format the share of right ones."""
    torch.manual_seed(SEED)
    prompts = [f"{question} " for _, question in questions]
    texts = subject.continuations(prompts, 12, **sampling.arguments()).texts
    right = [
        states_answer(text, accepted_forms((fact.answer, fact.short_answer)))
        for (fact, _), text in zip(questions, texts, strict=True)
    ]
    return f"{sum(right) / len(right):.2f} of {len(right)}"


def collapse_figures(subject: Subject) -> list[Figure]:
    """Measure how often two sampled runs on a standard prompt agree, at three settings."""
    lines = []
    for name, sampling in (
        ("near-greedy", NEAR_GREEDY),
        ("narrow-hot", NARROW_HOT),
        ("wide-hot", WIDE_HOT),
    ):
        prompts = (CAPITAL_OF_JAPAN, *STORIES)
        values = [estimate_agreement(subject, prompt, sampling) for prompt in prompts]
        value = " · ".join(f"{each:.2g}" for each in values)
        lines.append(Figure(f"two {name} runs of 20 tokens agree", value))
    return lines


def estimate_agreement(subject: Subject, prompt: str, sampling: Sampling) -> float:
    """Return the probability that a second run gives the same text, as a mean over 32 texts."""
    torch.manual_seed(SEED)
    drawn = subject.continuations([prompt] * 32, 20, keep_logits=True, **sampling.arguments())
    path = log_probabilities(drawn.logits, sampling).gather(-1, drawn.ids[..., None])[..., 0]
    return float(path.sum(dim=1).exp().mean())


def story_figures(subject: Subject) -> list[Figure]:
    """Measure how greedy and sampled stories repeat themselves."""
    greedy = subject.continuations(STORIES, 400)
    torch.manual_seed(SEED)
    sampled = subject.continuations(STORIES, 400, **WIDE_HOT.arguments())
    short = subject.continuations(STORIES, 30, keep_logits=True)
    distinct = [
        join_values([share_of_distinct_ngrams([row], 4) for row in run.ids.tolist()])
        for run in (greedy, sampled)
    ]
    first = entropy(log_probabilities(short.logits[:, 0]))
    return [
        Figure("distinct 4-grams in 400 tokens, greedy", distinct[0]),
        Figure("distinct 4-grams in 400 tokens, wide-hot", distinct[1]),
        Figure("entropy of a story's first token, nats", join_values(first.tolist())),
        Figure("smallest greedy margin in 30 story tokens", f"{short.least_margin(30)} nats"),
    ]
