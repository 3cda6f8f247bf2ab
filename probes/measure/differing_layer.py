"""Find the decoder layer in which two ways to compute the same texts first differ."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec

import torch

from probes.engines.base import Generation
from probes.engines.transformers.layer_outputs import Outputs, split_by_row, trace_layers
from probes.engines.transformers.precision import in_float32
from probes.measure.rounding_noise import (
    RUNS,
    RoundingNoise,
    as_texts,
    eager_attention,
    logits_along,
    move_results,
)

NONE = "no decoder layer differs"

Arguments = ParamSpec("Arguments")


def _without_failing(find: Callable[Arguments, str]) -> Callable[Arguments, str]:
    """Find no layer where one cannot be looked for: that must not take a finding's place."""

    @functools.wraps(find)
    def found(*args: Arguments.args, **kwargs: Arguments.kwargs) -> str:
        try:
            return find(*args, **kwargs)
        except (RuntimeError, IndexError, KeyError, ValueError):
            return ""

    return found


@_without_failing
def find_in_texts(
    model: Any,
    first: Callable[[], Sequence[Generation]],
    second: Callable[[], Sequence[Generation]],
    *,
    other: Any = None,
    skipped: int = 0,
) -> str:
    """Generate greedy texts in two ways, and say in which decoder layer they first differ.

    `other` is the model that computes the second way, if it is another; `skipped` the rows that it
    computes before the texts. Compared is what layers return up to the first token that differs. It
    differs where its change is larger than rounding explains, measured on the first way alone. The
    answer is empty where a way does not compute the texts token by token.
    """
    with trace_layers(model.network) as passes:
        texts = first()
    with trace_layers((other or model).network) as other_passes:
        others = second()
    rows, other_rows = split_by_row(passes), split_by_row(other_passes)[skipped:]
    changes: list[dict[str, float]] = []
    if min(len(rows), len(other_rows)) < len(texts):
        return ""
    for text, varied, one, two in zip(texts, others, rows, other_rows, strict=False):
        ids = zip(text.ids[0], varied.ids[0], strict=False)
        steps = 1 + next((n for n, (a, b) in enumerate(ids) if a != b), len(text.ids[0]))
        changes.append(_measure_changes(_keep_steps(one, steps), _keep_steps(two, steps)))
    return _name_first(changes, _measure_noise(model, texts))


@_without_failing
def find_in_dtype(half: Any, texts: Sequence[Generation]) -> str:
    """Say in which decoder layer a network's own dtype first differs from float32 along texts."""
    own, dtype = _outputs_along(half, texts), half.network.dtype
    with in_float32(half.network):
        exact = _outputs_along(half, texts)
        noise = _measure_noise(half, texts, exact, dtype)
    return _name_first(map(_measure_changes, exact, own), noise)


@_without_failing
def find_in_rows(model: Any, token: int, count: int, simulated: int) -> str:
    """Say in which decoder layer so many equal rows of one token first differ from one row.

    Rounding is simulated in another number of rows.
    """
    with trace_layers(model.network) as passes:
        model.logits_batch([[token]])
        model.logits_batch([[token]] * count)
    one, many = (each.outputs for each in passes)
    noise = _measure_noise(model, as_texts([[token]] * simulated))
    return _name_first([_measure_changes(one, many)], noise)


@_without_failing
def find_in_own_pass(model: Any, generate: Callable[[], Sequence[Generation]]) -> str:
    """Say in which decoder layer the generation of a text first differs from one pass over it.

    The text is the first that `generate` returns. Its first token is left out: the pass over the
    prompt is shared.
    """
    with trace_layers(model.network) as passes:
        texts = generate()
    text, generated = texts[0], split_by_row(passes)[0]
    following = len(text.ids[0]) - 1
    if following < 1:
        return ""
    with trace_layers(model.network, whole=True) as passes:
        model.logits_after(text.prompt_ids, [text.ids[0][:-1]])
    own = {name: each[0, -following:] for name, each in passes[-1].outputs.items()}
    steps = {name: each[1 : 1 + following] for name, each in generated.items()}
    return _name_first([_measure_changes(steps, own)], _measure_noise(model, texts))


@_without_failing
def find_in_batches(
    model: Any,
    prompts: Sequence[Sequence[int]],
    first: Sequence[Sequence[int]],
    second: Sequence[Sequence[int]],
) -> str:
    """Say in which decoder layer two ways to batch the same prompts first differ.

    A way is a list of batches, each of the places of its prompts. Rounding is simulated along every
    fourth prompt.
    """
    found: list[dict[int, Outputs]] = []
    for batches in (first, second):
        with trace_layers(model.network, whole=True) as passes:
            for places in batches:
                model.logits_batch([prompts[place] for place in places])
        found.append(
            {
                place: {name: out[row, : len(prompts[place])] for name, out in each.outputs.items()}
                for places, each in zip(batches, passes, strict=True)
                for row, place in enumerate(places)
            }
        )
    changes = [_measure_changes(each, found[1][place]) for place, each in found[0].items()]
    return _name_first(changes, _measure_noise(model, as_texts(prompts[::4])))


def _name_first(changes: Iterable[Mapping[str, float]], noise: Mapping[str, RoundingNoise]) -> str:
    largest = _largest(changes)
    differing = (name for name, each in noise.items() if not largest[name] <= each.tolerance)
    name = next(differing, None)
    return NONE if name is None else f"first in {name}"


def _outputs_along(model: Any, texts: Sequence[Generation]) -> list[Outputs]:
    """Return what the decoder layers return where each token of a text is chosen.

    By layer, (tokens, hidden size) for each text, computed as in `logits_along`.
    """
    with trace_layers(model.network, whole=True) as passes:
        logits_along(model, texts)
    found = []
    for row, text in enumerate(texts):
        start = len(text.prompt_ids) - 1
        places = slice(start, start + len(text.ids[0]))
        found.append({name: each[row, places] for name, each in passes[0].outputs.items()})
    return found


@torch.inference_mode()
def _measure_noise(
    model: Any,
    texts: Sequence[Generation],
    base: Sequence[Outputs] | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, RoundingNoise]:
    """Measure how far rounding moves what each layer returns, as `simulate_noise` does logits."""
    changes: list[dict[str, float]] = []
    with eager_attention(model.network, wanted=dtype is None):
        base = _outputs_along(model, texts) if base is None else base
        moving = move_results(model.network, dtype)
        for _ in range(RUNS):
            with moving():
                moved = _outputs_along(model, texts)
            changes += map(_measure_changes, base, moved)
    steps = sum(len(text.ids[0]) for text in texts)
    return {
        name: RoundingNoise(largest, steps, RUNS * steps)
        for name, largest in _largest(changes).items()
    }


def _measure_changes(one: Outputs, other: Outputs) -> dict[str, float]:
    """Return by layer the largest relative change of what it returns at a position."""
    found = {}
    for name, before in one.items():
        change = (other[name] - before).norm(dim=-1) / before.norm(dim=-1)
        found[name] = float(change.nan_to_num(nan=torch.inf).max())
    return found


def _largest(changes: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in changes:
        found |= {name: max(change, found.get(name, 0.0)) for name, change in each.items()}
    return found


def _keep_steps(outputs: Outputs, steps: int) -> Outputs:
    return {name: each[:steps] for name, each in outputs.items()}
