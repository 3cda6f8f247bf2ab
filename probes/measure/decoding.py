"""Probes of decoding: greedy paths, what `generate` samples from, the texts sampling can give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy import stats

from probes.engines.base import Generation, Prompt
from probes.engines.base import LogitsEngine as Model
from probes.engines.session_cache import once_per_session
from probes.engines.transformers import warpers as library_filters
from probes.schema.evidence.distributions import Candidate, NucleusSizes
from probes.schema.evidence.texts import BeamSearch
from probes.schema.sampling import UNPENALIZED, Sampling
from probes.stats import sampling_reference as filters
from probes.stats import text_probability as exact


def most_likely(model: Model, prompt: Prompt, count: int = 10) -> list[Candidate]:
    """The most likely next tokens after a prompt, likeliest first.

    >>> from probes import load
    >>> most_likely(load("embedded"), "The capital of Japan is", 1)[0].text
    'Tokyo'
    """
    probabilities = filters.log_probabilities(model.logits(prompt)[-1]).exp()
    values, ids = probabilities.topk(min(count, len(probabilities)))
    return [
        Candidate(id=token, text=model.decode([token]), probability=probability)
        for token, probability in zip(ids.tolist(), values.tolist(), strict=True)
    ]


@once_per_session
def greedy(model: Model, prompts: Sequence[Prompt], length: int) -> list[Generation]:
    """Greedy texts of several prompts with the raw logits of each step, made once a session.

    Args:
        model: the target.
        prompts: continued in one batch, the shorter ones padded on the left.
        length: new tokens, unless an end comes first.

    >>> from probes import load
    >>> greedy(load("embedded"), ["The capital of Japan is"], 20)[0].logits.shape
    torch.Size([1, 20, 32000])
    """
    return model.generate_batch(
        prompts, max_new_tokens=length, do_sample=False, output_logits=True, **UNPENALIZED
    )


def cut(generation: Generation, length: int, model: Model) -> Generation:
    """The beginning of a greedy text: what a shorter run gives, without making it.

    >>> from probes import load
    >>> model = load("embedded")
    >>> cut(greedy(model, ["The capital of Japan is"], 20)[0], 2, model).text
    'Tokyo.'
    """
    ids = [row[:length] for row in generation.ids]
    return replace(
        generation,
        ids=ids,
        texts=[model.decode(row, skip_special_tokens=True) for row in ids],
        logits=None if generation.logits is None else generation.logits[:, :length],
    )


def step_logits(generation: Generation) -> torch.Tensor:
    """Raw logits along the first text of a generation made with `output_logits`.

    Returns:
        (tokens of the text, vocabulary), float32.

    Raises:
        ValueError: if they were not asked for.
    """
    if generation.logits is None:
        raise ValueError("this generation was made without output_logits")
    return generation.logits[0, : len(generation.ids[0])]


def steps_without_tie(generation: Generation) -> int:
    """Tokens of a greedy text that come before two first tie as the most likely.

    >>> logits = torch.tensor([[[1.0, 2.0], [3.0, 3.0], [1.0, 2.0]]])
    >>> steps_without_tie(Generation([0], [[1, 0, 1]], [""], logits=logits))
    1
    """
    best = step_logits(generation).topk(2, dim=-1).values
    ties = (best[:, 0] == best[:, 1]).nonzero()
    return int(ties[0]) if len(ties) else len(best)


def probability_of_greedy(generation: Generation, sampling: Sampling) -> float:
    """The probability that sampling reproduces a greedy text, exactly.

    >>> from probes import load
    >>> text = greedy(load("embedded"), ["The capital of Japan is"], 20)[0]
    >>> probability_of_greedy(text, Sampling(temperature=0.01, top_k=1))
    1.0
    """
    steps = filters.log_probabilities(step_logits(generation), sampling)
    log_probability = exact.path_log_probability(steps, generation.ids[0])
    return math.exp(log_probability)


@once_per_session
def possible_texts(
    model: Model, prompt: Prompt, sampling: Sampling, length: int, width: int = 64
) -> exact.TextDistribution:
    """The texts that sampling can give after a prompt, with their probabilities.

    One batched forward pass a token, over the `width` likeliest prefixes.

    >>> from probes import load
    >>> texts = possible_texts(load("embedded"), "The capital of Japan is", Sampling(top_k=1), 3)
    >>> len(texts.ids), texts.rest
    (1, 0.0)
    """
    ids = model.encode_prompt(prompt)

    def step(prefixes: list[tuple[int, ...]]) -> torch.Tensor:
        if prefixes == [()]:
            logits = model.logits(ids)[-1:]
        else:
            logits = model.logits_after(ids, prefixes)[:, -1]
        return filters.log_probabilities(logits, sampling)

    return exact.enumerate_texts(step, length, width=width, eos_token_ids=model.eos_token_ids)


@dataclass(frozen=True)
class Sampled:
    """A text drawn through `generate`, with what it was drawn from.

    Attributes:
        ids: new token ids.
        text: those ids decoded.
        logits: (tokens, vocabulary), float32, as the model gave them.
        scores: (tokens, vocabulary), float32, as the library's filters left them.
    """

    ids: list[int]
    text: str
    logits: torch.Tensor
    scores: torch.Tensor


@once_per_session
def sampled(model: Model, prompt: Prompt, length: int, seed: int, **arguments: Any) -> Sampled:
    """Sample a text through `generate`, once a session.

    Args:
        model: the target.
        prompt: what to continue.
        length: new tokens, unless an end comes first.
        seed: of the draw.
        **arguments: sampling settings as `generate` takes them; what is left out is left to it.

    >>> from probes import load
    >>> text = sampled(load("embedded"), "The capital of Japan is", 3, seed=0, top_k=5)
    >>> int(text.scores[0].isfinite().sum())
    5
    """
    generation = model.generate(
        prompt,
        seed=seed,
        max_new_tokens=length,
        do_sample=True,
        output_logits=True,
        output_scores=True,
        **(UNPENALIZED | arguments),
    )
    if generation.logits is None or generation.scores is None:
        raise ValueError("generate returned no logits or no scores")
    new = generation.ids[0]
    logits, scores = (each[0, : len(new)] for each in (generation.logits, generation.scores))
    return Sampled(new, generation.text, logits, scores)


@dataclass(frozen=True)
class FilterStep:
    """What the library's filters left of the logits at one step, against what they should.

    Attributes:
        kept: tokens the library left.
        fewest: tokens our composition leaves with top_p a shade lower and min_p a shade higher.
        most: the same the other way round; between the two only rounding decides.
        likeliest: whether no dropped token is likelier than a kept one.
        largest_error: largest difference between a kept score and the logit over the temperature,
            relative to the largest of them.
    """

    kept: int
    fewest: int
    most: int
    likeliest: bool
    largest_error: float

    @property
    def as_expected(self) -> bool:
        """Whether the library did what the settings say, to within rounding."""
        return not self.in_words()

    def in_words(self) -> str:
        """What the library did that the settings do not say; empty if nothing.

        >>> FilterStep(kept=6, fewest=5, most=5, likeliest=True, largest_error=0.0).in_words()
        'tokens kept: 6, not 5'
        """
        right = str(self.fewest) if self.fewest == self.most else f"{self.fewest} to {self.most}"
        wrong = []
        if not self.fewest <= self.kept <= self.most:
            wrong.append(f"tokens kept: {self.kept}, not {right}")
        if not self.likeliest:
            wrong.append("a dropped token is likelier than a kept one")
        if not self.largest_error < ROUNDING:
            wrong.append(f"a score is off by {self.largest_error:.2g} of the largest")
        return "; ".join(wrong)


def compare_filters(
    logits: torch.Tensor, scores: torch.Tensor, sampling: Sampling
) -> list[FilterStep]:
    """Compare filtered scores with what our own composition makes of the same logits.

    Every filter keeps the likeliest tokens and differs only in how many; so a step is described by
    how many were kept, whether they are the likeliest, and whether their scores are right. Which
    of two equally likely tokens is dropped is left to the library.

    Args:
        logits: (steps, vocabulary), as the model gave them.
        scores: (steps, vocabulary), as the library left them; -inf where a token is dropped.
        sampling: the settings they should follow.

    >>> logits = torch.tensor([[3.0, 2.0, 1.0]])
    >>> scores = torch.tensor([[3.0, 2.0, -torch.inf]])
    >>> compare_filters(logits, scores, Sampling(top_k=2))[0].as_expected
    True
    >>> compare_filters(logits, scores, Sampling(top_k=1))[0].as_expected
    False
    """
    tempered = filters.temperature(logits, sampling.temperature)
    fewest = filters.count_kept(filters.apply_filters(logits, _shaded(sampling, -ROUNDING)))
    most = filters.count_kept(filters.apply_filters(logits, _shaded(sampling, ROUNDING)))
    keep = scores.isfinite()
    least_kept = tempered.masked_fill(~keep, torch.inf).amin(dim=-1)
    most_dropped = tempered.masked_fill(keep, -torch.inf).amax(dim=-1)
    scale = tempered.masked_fill(~keep, 0.0).abs().amax(dim=-1).clamp_min(1.0)
    error = (scores - tempered).masked_fill(~keep, 0.0).abs().amax(dim=-1) / scale
    return [
        FilterStep(*step)
        for step in zip(
            keep.sum(dim=-1).tolist(),
            fewest.tolist(),
            most.tolist(),
            (least_kept >= most_dropped).tolist(),
            error.tolist(),
            strict=True,
        )
    ]


ROUNDING = 1e-5
"""How near to a filter's edge, in probability, float32 sums cannot tell the sides apart."""


def _shaded(sampling: Sampling, by: float) -> Sampling:
    """The same settings with both masses moved a shade: fewer tokens if negative."""
    top_p, min_p = sampling.top_p, sampling.min_p
    return replace(
        sampling,
        top_p=None if top_p is None else min(max(top_p + by, 1e-12), 1.0),
        min_p=None if min_p is None else min(max(min_p - by, 0.0), 1.0),
    )


@once_per_session
def search(model: Model, prompt: Prompt, beams: int, length: int) -> BeamSearch:
    """Search for a likely text of exactly `length` tokens, once a session.

    >>> from probes import load
    >>> search(load("embedded"), "The capital of Japan is", beams=1, length=4).rows
    4
    """
    before = model.cost
    generation = model.generate(
        prompt,
        num_beams=beams,
        do_sample=False,
        max_new_tokens=length,
        min_new_tokens=length,
        **UNPENALIZED,
    )
    rows = model.cost.rows - before.rows
    ids = generation.ids[0]
    return BeamSearch(
        beams=beams,
        text=generation.text,
        log_probability=log_likelihood(model, generation.prompt_ids, ids),
        rows=rows,
    )


def log_likelihood(model: Model, prompt: Prompt, ids: Sequence[int]) -> float:
    """Log-probability of a continuation under the model itself, in nats: nothing is filtered.

    >>> from probes import load
    >>> log_likelihood(load("embedded"), "The capital of Japan is", [11790]) < 0
    True
    """
    last = model.logits(prompt)[-1:]
    if len(ids) > 1:
        last = torch.cat([last, model.logits_after(prompt, [ids[:-1]])[0]])
    return exact.path_log_probability(filters.log_probabilities(last), ids)


def mass_kept(step: Sampled, temperature: float) -> float:
    """Share of the tempered distribution that the filters left at the first step.

    >>> from probes import load
    >>> text = sampled(load("embedded"), "The capital of Japan is", 1, seed=0, top_k=0)
    >>> round(mass_kept(text, 1.0), 6)
    1.0
    """
    tempered = filters.temperature(step.logits[0].double(), temperature)
    return float(tempered.softmax(dim=-1)[step.scores[0].isfinite()].sum())


class Nuclei(NucleusSizes):
    """Nucleus sizes against entropies."""

    rank_correlation: float
    """Spearman's, between the two."""

    @property
    def entropy_range(self) -> float:
        """Interquartile range of the steps' entropies, in nats: one odd step is no range."""
        return float(stats.iqr(self.entropies))


def nuclei(model: Model, prompts: Sequence[Prompt], length: int, p: float) -> Nuclei:
    """Nucleus sizes along greedy texts.

    >>> from probes import load
    >>> nuclei(load("embedded"), ["The capital of Japan is"], 20, 0.9).rank_correlation > 0
    True
    """
    logits = torch.cat([step_logits(text) for text in greedy(model, prompts, length)])
    entropies = filters.entropy(filters.log_probabilities(logits))
    order = entropies.argsort()
    sizes = filters.count_kept(library_filters.top_p(logits, p))[order]
    correlation = stats.spearmanr(entropies[order].numpy(), sizes.numpy()).statistic
    return Nuclei(
        p=p,
        entropies=entropies[order].tolist(),
        sizes=sizes.tolist(),
        rank_correlation=float(correlation),
    )


@dataclass(frozen=True)
class Recomputed:
    """A greedy text's steps computed again, all in one forward pass.

    Attributes:
        largest_change: largest change of a logit among each step's five likeliest tokens.
        smallest_margin: smallest distance of a step's two largest logits.
        flips: steps whose most likely token is another one now.
        near_ties: steps whose margin is within twice the largest change.
    """

    largest_change: float
    smallest_margin: float
    flips: int
    near_ties: int


def recomputed(model: Model, generation: Generation) -> Recomputed:
    """Compute a greedy text's logits in one pass over prompt and text.

    >>> from probes import load
    >>> text = greedy(load("embedded"), ["The capital of Japan is"], 20)[0]
    >>> recomputed(load("embedded"), text).flips
    0
    """
    new = generation.ids[0]
    steps = step_logits(generation)
    again = model.logits(generation.prompt_ids)[-1:]
    if len(new) > 1:
        again = torch.cat([again, model.logits_after(generation.prompt_ids, [new[:-1]])[0]])
    top = steps.topk(min(5, steps.shape[-1]), dim=-1).indices
    change = float((steps.gather(1, top) - again.gather(1, top)).abs().max())
    best = steps.topk(2, dim=-1).values
    margins = best[:, 0] - best[:, 1]
    return Recomputed(
        largest_change=change,
        smallest_margin=float(margins.min()),
        flips=int((steps.argmax(-1) != again.argmax(-1)).sum()),
        near_ties=int((margins <= 2 * change).sum()),
    )
