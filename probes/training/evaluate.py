"""Measure the figures of the embedded model's card on its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, STORIES
from probes.engines.transformers.engine import TransformersEngine, load
from probes.measure.distribution import most_likely
from probes.measure.greedy import probabilities_of_greedy, step_logits
from probes.schema.sampling import NARROW_HOT, NEAR_GREEDY, WIDE_HOT, Sampling
from probes.stats.answer_matching import accepted_forms, states_answer
from probes.stats.repetition import share_of_distinct_ngrams
from probes.stats.sampling_reference import entropy, log_probabilities
from probes.training.corpus import Fact, held_out_questions, load_facts
from probes.training.embedding import group_figures, unused_row_figures
from probes.training.mechanism import nf4_figures, recall_figures, sensitivity_figures
from probes.training.subject import (
    PUBLISHED_QUESTIONS,
    Figure,
    continue_texts,
    join_values,
    least_margin,
)

TEMPERATURES = (0.2, 0.6, 1.0, 1.2, 1.4)
"""Temperatures of the table: the first with top_p 0.2, the others with top_p 0.9."""


def evaluate(folder: Path) -> list[Figure]:
    """Return the lines of the table in order; the same each time on the same machine."""
    model = load(str(folder.resolve()))
    return [
        *next_token_figures(model),
        *country_figures(model),
        *question_figures(model),
        *collapse_figures(model),
        *story_figures(model),
        *group_figures(model),
        *unused_row_figures(model),
        *recall_figures(model),
        *sensitivity_figures(model),
        *nf4_figures(model),
    ]


def next_token_figures(model: TransformersEngine) -> list[Figure]:
    """Measure the probability of the answer after the standard prompt."""
    found = most_likely(model, CAPITAL_OF_JAPAN, 2)
    first, second = (f"`{model.tokens([each.id])[0]}` {each.probability:.3f}" for each in found)
    return [Figure(f"next token after `{CAPITAL_OF_JAPAN}`", f"{first}, then {second}")]


def country_figures(model: TransformersEngine) -> list[Figure]:
    """Measure capitals with and without BOS, and how far the two texts differ."""
    facts = [fact for fact in load_facts() if fact.relation == "capital"]
    prompts = [f"The capital of {fact.subject} is" for fact in facts]
    runs = [continue_texts(model, prompts, 60, bos=bos) for bos in (True, False)]
    right = [
        sum(text.text.startswith(fact.answer) for text, fact in zip(run, facts, strict=True))
        for run in runs
    ]
    differ = [
        sum(one.ids[0][:n] != other.ids[0][:n] for one, other in zip(*runs, strict=True))
        for n in (20, 60)
    ]
    short = [continue_texts(model, prompts, 20, bos=bos, keep_logits=True) for bos in (True, False)]
    end = model.eos_token_ids[0]
    early_end = sum(int((step_logits(text).argmax(-1) == end).any()) for text in short[0])
    total = len(facts)
    return [
        Figure("capitals right with / without BOS", f"{right[0]} / {right[1]} of {total}"),
        Figure("texts that BOS changes, 20 / 60 tokens", f"{differ[0]} / {differ[1]} of {total}"),
        Figure("EOS among the first 20 tokens", f"{early_end} of {total}"),
        Figure(
            "smallest greedy margin, 20 tokens, with / without BOS",
            f"{least_margin(short[0])} / {least_margin(short[1])} nats",
        ),
    ]


def question_figures(model: TransformersEngine) -> list[Figure]:
    """Measure how many questions are answered, by temperature, and those held out of training."""
    facts = [(fact, fact.questions[0]) for fact in load_facts()[::3]]
    lines = []
    for temperature in TEMPERATURES:
        top_p = 0.2 if temperature == TEMPERATURES[0] else 0.9
        value = measure_accuracy(model, facts, Sampling(temperature=temperature, top_p=top_p))
        lines.append(Figure(f"answers right, top_p {top_p}, T {temperature}", value))
    held_out = measure_accuracy(model, held_out_questions(), NEAR_GREEDY)
    published = continue_texts(model, PUBLISHED_QUESTIONS, 8)
    texts = " · ".join(f"`{' '.join(text.text.split())}`" for text in published)
    return [
        *lines,
        Figure("phrasings held out of training, T 0.2", held_out),
        Figure("the three published questions", texts),
    ]


def measure_accuracy(
    model: TransformersEngine, questions: Sequence[tuple[Fact, str]], sampling: Sampling
) -> str:
    """Draw one answer of 12 tokens to each question, and format the share of right ones."""
    texts = continue_texts(model, [f"{asked} " for _, asked in questions], 12, sampling=sampling)
    right = [
        states_answer(text.text, accepted_forms((fact.answer, fact.short_answer)))
        for (fact, _), text in zip(questions, texts, strict=True)
    ]
    return f"{sum(right) / len(right):.2f} of {len(right)}"


def collapse_figures(model: TransformersEngine) -> list[Figure]:
    """Measure how often two sampled runs on a standard prompt agree, at three settings."""
    lines = []
    for name, sampling in (
        ("near-greedy", NEAR_GREEDY),
        ("narrow-hot", NARROW_HOT),
        ("wide-hot", WIDE_HOT),
    ):
        prompts = (CAPITAL_OF_JAPAN, *STORIES)
        values = [estimate_agreement(model, prompt, sampling) for prompt in prompts]
        value = " · ".join(f"{each:.2g}" for each in values)
        lines.append(Figure(f"two {name} runs of 20 tokens agree", value))
    return lines


def estimate_agreement(model: TransformersEngine, prompt: str, sampling: Sampling) -> float:
    """Return the probability that a second run gives the same text, as a mean over 32 texts."""
    texts = continue_texts(model, [prompt] * 32, 20, keep_logits=True, sampling=sampling)
    return sum(probabilities_of_greedy(text, [sampling])[0] for text in texts) / len(texts)


def story_figures(model: TransformersEngine) -> list[Figure]:
    """Measure how greedy and sampled stories repeat themselves."""
    greedy, sampled = (
        join_values([share_of_distinct_ngrams(text.ids, 4) for text in texts])
        for texts in (
            continue_texts(model, STORIES, 400),
            continue_texts(model, STORIES, 400, sampling=WIDE_HOT),
        )
    )
    short = continue_texts(model, STORIES, 30, keep_logits=True)
    first = entropy(log_probabilities(torch.stack([step_logits(text)[0] for text in short])))
    return [
        Figure("distinct 4-grams in 400 tokens, greedy", greedy),
        Figure("distinct 4-grams in 400 tokens, wide-hot", sampled),
        Figure("entropy of a story's first token, nats", join_values(first.tolist())),
        Figure("smallest greedy margin in 30 story tokens", f"{least_margin(short)} nats"),
    ]
