"""Compare an engine's log-probabilities and greedy texts with those of a reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from probes.engines.base import Generation, TopLogprobs
from probes.engines.logprobs import list_top_logprobs
from probes.engines.session_cache import once_per_session
from probes.measure.engine_answers import TOP, logits_along, make_greedy
from probes.measure.engine_prompts import asks_in_chat, encode_prompts
from probes.measure.engine_records import explain_rounding, follow_prompts, is_record
from probes.measure.greedy import generate_greedy
from probes.measure.rounding_noise import measure_noise, simulate_noise
from probes.schema.evidence.engines import EngineStep

JUDGED = 5
"""Of these, those whose distance to the most likely token is judged, as rounding noise is."""


@dataclass(frozen=True)
class Comparison:
    """An engine's greedy texts, step by step, beside the reference's distribution."""

    steps: list[EngineStep]
    tolerance: float
    """Largest change of a distance of two logits that rounding explains."""
    precision: str
    """The engine's dtype as far as it is known, else the reference's."""
    listed_step: float = 0.0
    """Step to which the engine rounds the log-probabilities that it lists; 0 if it does not."""

    @property
    def largest_change(self) -> float:
        """The largest change of a likely token's distance, or of the chosen log-probability."""
        return max((step.change for step in self.steps), default=0.0)

    @property
    def mean_divergence(self) -> float:
        """The mean KL divergence of the engine from the reference, in nats a token."""
        return sum(step.divergence for step in self.steps) / max(1, len(self.steps))

    @property
    def same_top_token(self) -> float:
        """The share of steps at which both find the same token most likely."""
        return sum(step.same_top for step in self.steps) / max(1, len(self.steps))


def compare_logprobs(
    engine: Any, reference: Any, prompts: Sequence[str], length: int
) -> Comparison:
    """Compare the log-probabilities along an engine's own greedy texts with the reference's.

    The reference computes them for the ids that the engine chose, so that texts that differ are no
    obstacle. Prompts are the reference's ids. Where it is a record, they are compared along the
    prompts that this holds.

    >>> model = load("embedded")
    >>> found = compare_logprobs(model, model, ["The capital of Japan is"], 4)
    >>> len(found.steps), found.largest_change <= found.tolerance
    (4, True)
    """
    if is_record(reference):
        texts = follow_prompts(engine, reference)
    else:
        made = make_greedy(engine, reference, prompts, length)
        texts = [*zip(prompts, made, strict=True)]
    steps = [step for pair in texts for step in compare_text(reference, *pair)]
    precision, tolerance = measure_tolerance(engine, reference, prompts, length)
    step = find_step([v for _, text in texts for row in _rows(text) for v in row.logprobs])
    return Comparison(steps, tolerance + step, precision, step)


def find_step(values: Sequence[float]) -> float:
    """Return the step to which values are rounded, 0.01 or less; 0 if there is none.

    >>> find_step([-number / 1000 for number in range(20)]), find_step([-(2**0.5), *range(20)])
    (0.001, 0.0)
    """
    if len(set(values)) < 20:
        return 0.0
    for decimals in range(2, 7):
        if all(abs(value - round(value, decimals)) <= 1e-7 * abs(value) for value in values):
            return float(10**-decimals)
    return 0.0


def load_in_4_bit(reference: Any) -> Any:
    """Return a copy of a reference in NF4 that computes in the reference's dtype."""
    return reference.variant(quantization="nf4", dtype=reference.facts().dtype)


def follow_texts(
    other: Any, reference: Any, engine: Any, prompts: Sequence[str], length: int
) -> Comparison:
    """Compare another model with the reference, along the texts that an engine made."""
    pairs = []
    for prompt, text in zip(prompts, make_greedy(engine, reference, prompts, length), strict=True):
        if text.ids[0]:
            logits = logits_along(other, text.prompt_ids, text.ids[0])
            listed = [list_top_logprobs(logits, text.ids[0], TOP)]
            pairs.append((prompt, replace(text, top_logprobs=listed)))
    return Comparison([s for prompt, text in pairs for s in compare_text(reference, prompt, text)],
                      0.0, other.facts().dtype)  # fmt: skip


def compare_text(reference: Any, prompt: str, text: Generation) -> Iterator[EngineStep]:
    """Yield the steps of an engine's text beside the reference's distribution."""
    ids, listed = text.ids[0], _rows(text)
    if not ids or len(listed) != len(ids):  # the server did not tell all of them
        return
    law = logits_along(reference, text.prompt_ids, ids).double().log_softmax(dim=-1)
    for place, (token, top, row) in enumerate(zip(ids, listed, law, strict=True)):
        there = torch.tensor(top.logprobs or [top.chosen], dtype=torch.float64)
        here = row[torch.tensor(top.ids or [token])]
        distances = (there - there[0]) - (here - here[0])
        # Where the chosen token alone is listed, there is no distance.
        moved = abs(top.chosen - float(row[token])) if len(there) == 1 else 0.0
        rest_there = (1 - there.exp().sum()).clamp_min(1e-12)
        rest_here = (1 - here.exp().sum()).clamp_min(1e-12)
        divergence = (here.exp() * (here - there)).sum() + rest_here * (
            rest_here / rest_there
        ).log()
        yield EngineStep(
            prompt=prompt,
            position=place,
            token=reference.decode([token]),
            engine=float(top.chosen),
            reference=float(row[token]),
            change=max(float(distances[:JUDGED].abs().max()), moved),
            divergence=max(0.0, float(divergence)),
            same_top=int(row.argmax()) == (top.ids or [token])[0],
        )


def _rows(text: Generation) -> Sequence[TopLogprobs]:
    """Return the log-probabilities of a text's only sample; none if the engine lists none."""
    return (text.top_logprobs or [[]])[0]


def quantization_of(engine: Any) -> str | None:
    """Return how the weights are quantized that an engine computes with, if it or its target says.

    >>> quantization_of(load("embedded")) is None
    True
    """
    stated: str | None = getattr(engine, "computes_quantized", None)
    own = engine.target.quantization.value
    return stated or (None if own == "none" else own)


@once_per_session
def measure_slack(engine: Any, reference: Any, prompts: Sequence[str], length: int) -> float:
    """Measure how far two logits of an engine may lie from the reference's, by rounding.

    Where its weights are quantized, their distance from the reference is what they move.
    """
    if quantization_of(engine) and "logprobs" in engine.capabilities:
        return compare_logprobs(engine, reference, prompts, length).largest_change
    return measure_tolerance(engine, reference, prompts, length)[1]


@once_per_session
def measure_tolerance(
    engine: Any, reference: Any, prompts: Sequence[str], length: int
) -> tuple[str, float]:
    """Return the dtype of the engine, else of the reference, and what rounding explains.

    The coarser rounding of the two counts.
    """
    own = reference.facts().dtype
    # Rounding of quantized weights is larger than that of any dtype.
    stated = own if quantization_of(engine) else getattr(engine, "precision", None) or own
    if is_record(reference):
        return stated, explain_rounding(reference)
    asked = encode_prompts(engine, reference, prompts) if asks_in_chat(engine) else prompts
    if stated == own:
        return own, measure_noise(reference, asked, length).tolerance
    texts = generate_greedy(reference, asked, length)
    return stated, simulate_noise(reference, texts, dtype=getattr(torch, stated)).tolerance


# --- causes --------------------------------------------------------------------------------------


AS_IT_IS = "the reference as it is"

TEMPERATURES = [number / 20 for number in range(4, 61)]
"""Those that are tried where no distance of two tokens is listed."""


@dataclass(frozen=True)
class Cause:
    """A change of the reference that would explain an engine's log-probabilities."""

    name: str
    distance: float
    """Root mean square of what is left of the changes of distances, in nats."""


def explain_change(engine: Any, reference: Any, prompts: Sequence[str], length: int) -> list[Cause]:
    """Return what may explain an engine's log-probabilities, the smallest distance first.

    `AS_IT_IS` is among them.
    """
    ids = encode_prompts(engine, reference, prompts)
    made = make_greedy(engine, reference, prompts, length)
    begin = ids[0][:1] if ids[0][0] in reference.special_token_ids else []
    changed: dict[str, list[list[int]]] = {AS_IT_IS: ids}
    if begin:
        changed["a missing BOS"] = [each[1:] if each[:1] == begin else each for each in ids]
        changed["a second BOS"] = [[*begin, *each] for each in ids]
    found = []
    for name, starts in changed.items():
        if all(starts):
            found += list(_fit(reference, name, starts, made))
    if getattr(reference, "variant", None) and not reference.explain_missing("nf4"):
        nf4 = load_in_4_bit(reference)
        found += [c for c in _fit(nf4, "weights in 4-bit NF4", ids, made) if "temp" not in c.name]
    return sorted(found, key=lambda cause: cause.distance)


@dataclass(frozen=True)
class NamedCause:
    """What explains an engine's log-probabilities, for a message."""

    words: str
    is_named: bool
    """Whether it is one that quantized weights do not explain."""


def name_cause(causes: Sequence[Cause], found: Comparison) -> NamedCause:
    """Name what explains an engine's log-probabilities best.

    A cause is named where it leaves half of the distance or less. Another model finds another token
    most likely at most steps.
    """
    best = causes[0]
    plain = next(cause for cause in causes if cause.name == AS_IT_IS)
    if best.distance <= plain.distance / 2 and best is not plain:
        words = f"they are those of {best.name.replace(AS_IT_IS, 'the reference')}"
        return NamedCause(words, is_named="4-bit" not in best.name)
    if found.same_top_token < 0.5:
        share = f"{found.same_top_token:.0%}"
        words = f"another model: the most likely token is the same at {share} of the steps"
        return NamedCause(words, is_named=True)
    return NamedCause("other weights, or another precision than was stated", is_named=False)


def _fit(
    reference: Any, name: str, starts: Sequence[Sequence[int]], made: Sequence[Generation]
) -> Iterator[Cause]:
    """Yield how far the texts' log-probabilities are, as they are and at the best temperature."""
    here, there, chosen = [], [], []
    for start, text in zip(starts, made, strict=True):
        if not text.ids[0] or len(_rows(text)) != len(text.ids[0]):
            continue
        logits = logits_along(reference, start, text.ids[0]).double()
        for row, token, top in zip(logits, text.ids[0], _rows(text), strict=True):
            own = row[torch.tensor(top.ids or [token])]
            listed = torch.tensor(top.logprobs or [top.chosen], dtype=torch.float64)
            here.append((own - own[0])[1:])
            there.append((listed - listed[0])[1:])
            chosen.append((row, token, top.chosen))
    x, y = torch.cat(here), torch.cat(there)
    if not len(x):  # the chosen token alone is listed
        rests = {t: _measure_rest(chosen, t) for t in TEMPERATURES}
        yield Cause(name, rests.pop(1.0))
        best = min(rests, key=lambda t: rests[t])
        yield Cause(f"{name}, at temperature {best:.3g}", rests[best])
        return
    slope = float((x * y).sum() / (x * x).sum().clamp_min(1e-12))
    yield Cause(name, float((y - x).square().mean().sqrt()))
    if slope > 0:
        rest = float((y - slope * x).square().mean().sqrt())
        yield Cause(f"{name}, at temperature {1 / slope:.3g}", rest)


def _measure_rest(chosen: Sequence[tuple[torch.Tensor, int, float]], temperature: float) -> float:
    """Return the root mean square change of chosen tokens' log-probabilities, in nats."""
    moved = [
        float((row / temperature).log_softmax(dim=-1)[token]) - value
        for row, token, value in chosen
    ]
    return float(torch.tensor(moved).square().mean().sqrt())
