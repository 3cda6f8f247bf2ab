"""Ask a server for greedy texts again: whole ones, and ones that end at an id."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, QUESTION, STORIES
from probes.engines.session_cache import once_per_session
from probes.errors import UndecidableError
from probes.measure.listed_steps import (
    ListedStep,
    count_common_steps,
    largest_change,
    list_steps,
)
from probes.schema.sampling import Sampling
from probes.stats.rounding import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probes.engines.base import Generation

PROMPTS = (CAPITAL_OF_JAPAN, QUESTION, *STORIES)

TOP = 20
"""Most likely tokens that are listed at each step; vLLM lists no more."""

COARSEST = "bfloat16"
"""The dtype of a server that tells none: rounding explains most there."""


@once_per_session
def make_greedy(
    engine: Any,
    length: int,
    run: int = 0,  # noqa: ARG001
    prompts: Sequence[str] = PROMPTS,
) -> list[Generation]:
    """Return a server's greedy texts, all prompts at once; once a session for each `run`."""
    lists = {"top_logprobs": TOP} if "logprobs" in engine.capabilities else {}
    made: list[Generation] = engine.generate_batch(
        prompts, max_new_tokens=length, do_sample=False, **lists
    )
    return made


# --- greedy texts again --------------------------------------------------------------------------


@dataclass(frozen=True)
class Repeated:
    """A text that was made twice, and how far apart the two tokens are where it first differs."""

    way: str
    prompt: str
    texts: tuple[str, str]
    step: int | None
    """Number of the first token that differs; None if none does."""
    margin: float | None
    """Distance there of the two tokens' log-probabilities, in nats, at least; None if none is
    listed."""
    tolerance: float
    """What rounding explains of it: it moves each of the two by half of this."""
    fault: str = ""
    """What no near-tie explains; empty if there is nothing."""

    @property
    def is_decided(self) -> bool:
        """Whether it is known how close the two tokens were, or does not matter."""
        return self.step is None or bool(self.fault) or self.margin is not None

    @property
    def is_explained(self) -> bool:
        """Whether the texts are the same, or differ at a near-tie."""
        if self.step is None:
            return True
        return not self.fault and self.margin is not None and self.margin <= self.tolerance


def repeat_together(
    engine: Any, length: int, runs: int, prompts: Sequence[str] = PROMPTS
) -> list[Repeated]:
    """Make greedy texts again, all at once, `runs` times in all.

    >>> from probes import load
    >>> {each.step for each in repeat_together(load("embedded"), 4, runs=2)}
    {None}
    """
    first = make_greedy(engine, length, 0, prompts)
    ways = {f"run {run}": make_greedy(engine, length, run, prompts) for run in range(2, runs + 1)}
    return _compare_all(engine, first, ways, prompts)


def repeat_greedy(engine: Any, length: int, runs: int) -> list[Repeated]:
    """Make greedy texts again: all at once, `runs` times in all, and each alone.

    >>> from probes import load
    >>> {each.step for each in repeat_greedy(load("embedded"), 4, runs=2)}
    {None}
    """
    first = make_greedy(engine, length)
    lists = {"top_logprobs": TOP} if "logprobs" in engine.capabilities else {}
    ways = {f"run {run}": make_greedy(engine, length, run) for run in range(2, runs + 1)}
    ways["one at a time"] = [
        engine.generate(prompt, max_new_tokens=length, do_sample=False, **lists)
        for prompt in PROMPTS
    ]
    return _compare_all(engine, first, ways)


def _compare_all(
    engine: Any,
    first: Sequence[Generation],
    ways: Mapping[str, Sequence[Generation]],
    prompts: Sequence[str] = PROMPTS,
) -> list[Repeated]:
    """Compare texts with those made in other ways; each pair's noise is measured on the others."""
    pairs = [
        (way, prompt, one, other)
        for way, made in ways.items()
        for prompt, one, other in zip(prompts, first, made, strict=True)
    ]
    changes = [_measure_change(one, other) for *_, one, other in pairs]
    return [
        _compare(engine, *pair, _largest(changes[:number] + changes[number + 1 :]))
        for number, pair in enumerate(pairs)
    ]


def _measure_change(one: Generation, other: Generation) -> float | None:
    """Return how far listed distances move between two texts; None if no distance is listed."""
    first, second = list_steps(one), list_steps(other)
    common = count_common_steps(first, second)
    is_listed = any(step.shows_others for step in first[:common])
    return largest_change(first, second) if is_listed else None


def _largest(changes: Sequence[float | None]) -> float | None:
    return max((change for change in changes if change is not None), default=None)


def _compare(
    engine: Any, way: str, prompt: str, one: Generation, other: Generation, noise: float | None
) -> Repeated:
    first, second = list_steps(one), list_steps(other)
    texts, is_same = (one.text, other.text), one.text == other.text and one.ids == other.ids
    if is_same:
        return Repeated(way, prompt, texts, None, 0.0, 0.0)
    step = count_common_steps(first, second)
    if fault := _find_fault(one, other):
        return Repeated(way, prompt, texts, step, None, 0.0, fault)
    if step >= max(len(first), len(second)):  # not listed
        return Repeated(way, prompt, texts, step, None, 0.0)
    here = (first if step < len(first) else second)[step]
    if noise is None or not here.shows_others:
        return Repeated(way, prompt, texts, step, None, 0.0)
    tolerance = 2 * min(noise, _explain_rounding(engine, here))
    if step >= min(len(first), len(second)):  # one text has ended; what ended it may be listed
        margin = _least_margin(here)
        is_far = margin is not None and margin > tolerance
        return Repeated(way, prompt, texts, step, margin if is_far else None, tolerance)
    listed = dict(zip(here.tokens, here.logprobs, strict=True))
    # What is not listed is no likelier than the last that is.
    there = listed.get(second[step].token, min(here.logprobs))
    return Repeated(way, prompt, texts, step, abs(here.chosen - there), tolerance)


def _find_fault(one: Generation, other: Generation) -> str:
    """Return what no near-tie explains of two texts that differ; empty if there is nothing.

    Both were asked with one limit, so neither may reach it before the other.

    >>> from probes.engines.base import Generation
    >>> _find_fault(Generation([], [[5, 6]], ["ab"]), Generation([], [[5, 6]], ["ba"]))
    'the same tokens are another text'
    """
    tokens: list[Sequence[int | bytes]] = [list_tokens(text) for text in (one, other)]
    if tokens[0] and tokens[0] == tokens[1] and one.text != other.text:
        return "the same tokens are another text"
    reasons = [(text.finish_reasons or [""])[0] for text in (one, other)]
    counts = [
        len(known) or (text.new_tokens or [None])[0] or 0
        for known, text in zip(tokens, (one, other), strict=True)
    ]
    if all(counts):
        for reason, count, longer in zip(reasons, counts, reversed(counts), strict=True):
            if reason == "length" and count < longer:
                return f"one is cut after {count} tokens, the other has {longer}"
    return ""


def _least_margin(step: ListedStep) -> float | None:
    """Return how far the token that came is from any other, in nats; None if none is listed."""
    others = [
        value
        for token, value in zip(step.tokens, step.logprobs, strict=True)
        if token != step.token
    ]
    return min((abs(step.chosen - value) for value in others), default=None)


def _explain_rounding(engine: Any, step: ListedStep) -> float:
    """Return the most that rounding explains of a log-probability: a share of the list's spread.

    It caps the noise, so that a noisy server does not widen its own tolerance. The spread of all
    logits is larger, so this is no more than what is allowed to a network.
    """
    dtype = getattr(engine, "precision", "")
    spread = max(step.logprobs) - min(step.logprobs)
    return ROUNDING.get(dtype, ROUNDING[COARSEST]) * spread


# --- ends ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IdStop:
    """Where a greedy text ended that was told to stop at one of several ids."""

    prompt: str
    expected: list[int]
    """Its own tokens up to the first of the ids; those of the whole text where it has none."""
    found: list[int]
    reason: str


def stop_at_ids(engine: Any, length: int) -> list[IdStop]:
    """Stop greedy texts at one of several ids, each from the middle of a text.

    Each text is judged by itself, as rounding may make it another one than before. One that has
    none of the ids and differs from the whole text before they come, by a near-tie or by what no
    list tells, is left out. Raises UndecidableError where all are, or where the server takes no ids
    or tells none.
    """
    dialect = getattr(engine, "dialect", None)
    if dialect is not None and not dialect.stop_ids:
        raise UndecidableError(f"its engine, {engine.name}, takes no ids to stop at")
    prompts = PROMPTS[:3]
    settings: dict[str, Any] = {"max_new_tokens": length, "do_sample": False}
    if "logprobs" in engine.capabilities:
        settings["top_logprobs"] = TOP
    whole = [engine.generate(prompt, **settings) for prompt in prompts]
    if not all(text.ids[0] for text in whole):
        raise UndecidableError("it does not tell the ids of its texts, or not all")
    ends = sorted({text.ids[0][len(text.ids[0]) // 2] for text in whole})
    made = [engine.generate(prompt, eos_token_id=ends, **settings) for prompt in prompts]
    found = []
    for prompt, text, stopped, start in zip(
        prompts, whole, made, compare_starts(engine, prompts, whole, made), strict=True
    ):
        own = stopped.ids[0]
        may_differ = start.step is not None and (start.is_explained or not start.is_decided)
        has_end = any(token in ends for token in own)
        if may_differ and not has_end:
            continue
        ids = own if may_differ else text.ids[0]
        end = next(n + 1 for n, token in enumerate(ids) if token in ends)
        reason = (stopped.finish_reasons or [""])[0]
        found.append(IdStop(prompt, ids[:end], own, reason))
    if not found:
        raise UndecidableError("rounding keeps all of its texts from the ids to stop at")
    return found


def compare_starts(
    engine: Any, prompts: Sequence[str], first: Sequence[Generation], other: Sequence[Generation]
) -> list[Repeated]:
    """Compare pairs of texts, each up to the end of the shorter one, token by token."""
    cut = [_cut_to_shorter(*pair) for pair in zip(first, other, strict=True)]
    return _compare_all(
        engine, [one for one, _ in cut], {"stopped": [stopped for _, stopped in cut]}, prompts
    )


def _cut_to_shorter(one: Generation, other: Generation) -> tuple[Generation, Generation]:
    """Cut two texts to as many tokens; their tokens take the place of their texts."""
    count = min(len(list_tokens(one)), len(list_tokens(other)))
    first, second = (
        replace(
            text,
            ids=[text.ids[0][:count]],
            texts=[repr(list_tokens(text)[:count])],
            finish_reasons=None,
            new_tokens=None,
            top_logprobs=text.top_logprobs and [text.top_logprobs[0][:count]],
            top_pieces=text.top_pieces and [text.top_pieces[0][:count]],
        )
        for text in (one, other)
    )
    return first, second


def list_tokens(text: Generation) -> Sequence[int | bytes]:
    """Return the ids of a text, or else the bytes of its tokens; none where it tells neither."""
    return text.ids[0] or [step.token for step in list_steps(text)]


# --- one token -----------------------------------------------------------------------------------


def draw_top_1(engine: Any, *, seed: int, length: int) -> list[Repeated]:
    """Draw texts with a top_k of 1 at a temperature of 1, and compare them with greedy ones.

    >>> from probes import load
    >>> {each.step for each in draw_top_1(load("embedded"), seed=0, length=4)}
    {None}
    """
    lists = {"top_logprobs": TOP} if "logprobs" in engine.capabilities else {}
    drawn = engine.generate_batch(
        PROMPTS,
        sampling=Sampling(top_k=1, top_p=1.0, min_p=0.0),
        seed=seed,
        max_new_tokens=length,
        **lists,
    )
    return _compare_all(engine, make_greedy(engine, length), {"top_k 1": drawn})


def find_wrong_choices(texts: Sequence[Generation]) -> list[tuple[str, int, float]]:
    """Return the text, the step and the gap of each greedy token that is not the most likely."""
    return [
        (text.text, number, step.gap)
        for text in texts
        for number, step in enumerate(list_steps(text))
        if step.gap > 0
    ]
