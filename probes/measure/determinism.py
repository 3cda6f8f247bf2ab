"""Check that greedy text stays the same when nothing that should matter changes.

Each variation makes the same greedy texts in another way. `greedy_differences` compares them with
the baseline, `rounding_noise` measures how far rounding moves logits, on the baseline alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from probes.engines.session_cache import once_per_session
from probes.engines.transformers.attention import list_attention, use_attention, with_attention
from probes.engines.transformers.caches import choose_cache, explain_uncompilable
from probes.engines.transformers.precision import has_quantized_weights, in_float32
from probes.measure import differing_layer
from probes.measure.greedy import generate_greedy, step_logits, truncate
from probes.measure.greedy_differences import Variation, add_reproduction, compare_texts
from probes.measure.reproduction import SAME, VariedCall
from probes.measure.rounding_noise import (
    logits_along,
    measure_noise,
    simulate_noise,
)
from probes.measure.settings import plain_settings
from probes.schema.sampling import UNPENALIZED
from probes.stats.rounding import logit_tolerance
from probes.targets.capabilities import TWIN_LIMIT

if TYPE_CHECKING:
    from probes.engines.base import Generation, LogitsEngine, Prompt
    from probes.engines.transformers.engine import TransformersEngine

LENGTH_ALONE = 6
"""Tokens that a text of one row has at least, so that claims which need fewer share it."""

NOISE_LENGTH = 8
"""Tokens that noise is measured along at least, so that claims which compare fewer share it."""

WIDEST_WINDOW = 4096  # widest attention window, in tokens, that a prompt exceeds: Mistral-7B's


def repeat_batch(
    model: LogitsEngine, prompts: Sequence[Prompt], length: int, runs: int
) -> list[Variation]:
    """Make the same batch several times: nothing may change at all."""
    again = partial(generate_texts, model, prompts, length)
    return [vary(model, f"run {run}", prompts, length, again) for run in range(2, runs + 1)]


def vary_to_batches_of_one(
    model: LogitsEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Continue each prompt in a batch of its own, without padding."""

    def one_by_one() -> list[Generation]:
        return [generate_texts(model, [prompt], length)[0] for prompt in prompts]

    alone = VariedCall("ids[:1, -len(rows[0]) :], mask[:1, -len(rows[0]) :]")
    yield vary(model, "batch of one, no padding", prompts, length, one_by_one, alone)


def vary_to_larger_batch(
    model: LogitsEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Continue every prompt twice in one batch with a longer one, which adds padding."""
    longer = max((model.encode_prompt(prompt) for prompt in prompts), key=len) * 2
    batch = [longer, *prompts, *prompts]

    def in_one_batch() -> list[Generation]:
        return generate_texts(model, batch, length)[1 : len(prompts) + 1]

    twice = "torch.nn.functional.pad({}.repeat(2, 1), " + f"({len(longer) // 2}, 0))"
    doubled = VariedCall(f"{twice.format('ids')}, {twice.format('mask')}")
    after_longer = partial(differing_layer.find_in_texts, skipped=1)
    name = "larger batch, more padding"
    yield vary(model, name, prompts, length, in_one_batch, doubled, after_longer)


def vary_cache(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Use a static cache, not compiled, and none."""
    for name, arguments in (
        ("static cache", choose_cache("static", compiled=False)),
        ("no cache", {"use_cache": False}),
    ):
        again = partial(generate_texts, model, prompts, length, **arguments)
        yield vary(model, name, prompts, length, again, VariedCall.with_settings(arguments))


def vary_compilation(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Compile the forward pass of a static cache, where transformers can; it takes a minute."""
    if not explain_uncompilable(model, "static"):
        arguments = choose_cache("static", compiled=True)
        again = partial(generate_texts, model, prompts, length, **arguments)
        call = VariedCall.with_settings(arguments)
        name = "static cache, compiled"
        # A compiled pass calls no hooks.
        yield vary(model, name, prompts, length, again, call, lambda *_: "")


def vary_attention(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Use each other attention implementation.

    Where the library cannot switch a loaded network, it is loaded again if it is small enough.
    """
    for name in list_attention(model):
        if name != model.network.config._attn_implementation:
            again = partial(_generate_with_attention, name, model, prompts, length)
            call = VariedCall(before=f'model.set_attn_implementation("{name}")')
            find = partial(differing_layer.find_in_texts, other=with_attention(model, name))
            yield vary(model, f"attention {name}", prompts, length, again, call, find)


def vary_prompt_past_window(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Continue a prompt longer than the attention window, by every cache and attention.

    Only there can a wrong window, or a cache cut at the wrong place, show. Yields nothing where the
    network has no window or one wider than 4,096 tokens.
    """
    longer = lengthen_past_window(model, prompts)
    if longer is None:
        return
    for vary_by in (vary_attention, vary_cache):
        for found in vary_by(model, [longer], length):
            yield replace(found, name=f"{found.name}, {len(longer)} tokens")


def lengthen_past_window(model: TransformersEngine, prompts: Sequence[Prompt]) -> list[int] | None:
    """Return ids of a prompt longer than the attention window, made of the prompts.

    None where the network has no window, or one wider than `WIDEST_WINDOW`.
    """
    config = model.config.get_text_config()
    used = getattr(config, "use_sliding_window", True)
    window = (used and getattr(config, "sliding_window", None)) or 0
    if not 0 < window <= WIDEST_WINDOW:
        return None
    ids = [i for prompt in prompts for i in model.encode_prompt(prompt)]
    return (ids * (window // len(ids) + 2))[: window + 8]


def vary_threads(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Use one thread, or two where one is the rule; on a CPU only."""
    if model.device.type != "cpu":
        return
    count = 1 if torch.get_num_threads() > 1 else 2

    def again() -> list[Generation]:
        with _use_threads(count):
            return generate_texts(model, prompts, length)

    # The number is left out of the name: runs that differ in it must be comparable.
    call = VariedCall(before=f"torch.set_num_threads({count})")
    yield vary(model, "another number of threads", prompts, length, again, call)


def vary_precision(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Compare half precision with float32 along the same text, computed from the same weights.

    A model in float32 gets a copy in bfloat16, which has rounded weights; float32 then computes
    with these. Yields nothing for quantized weights, or too large ones.
    """
    network = model.network
    if has_quantized_weights(network) or model.checkpoint.weight_bytes > TWIN_LIMIT:
        return
    wide = network.dtype is torch.float32
    yield compare_precision(model.variant(dtype="bfloat16") if wide else model, prompts, length)


@once_per_session
def compare_precision(
    half: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Variation:
    """Compare a network's greedy texts with what float32 makes of the same weights."""
    texts = generate_greedy(half, prompts, length)
    dtype = half.network.dtype
    with in_float32(half.network):
        exact = logits_along(half, texts)
        noise = simulate_noise(half, texts, dtype=dtype, base=exact)
    in_full = [
        replace(text, ids=[each.argmax(dim=-1).tolist()], logits=each.unsqueeze(0))
        for text, each in zip(texts, exact, strict=True)
    ]
    name = str(dtype).removeprefix("torch.")
    found = compare_texts(half, name, in_full, texts, noise.tolerance)
    call = VariedCall(before="model = model.float()")
    return add_reproduction(
        half, found, prompts, length, call, lambda: differing_layer.find_in_dtype(half, texts)
    )


VARIATIONS: dict[str, Callable[[Any, Sequence[Prompt], int], Iterator[Variation]]] = {
    "alone": vary_to_batches_of_one,
    "doubled": vary_to_larger_batch,
    "caches": vary_cache,
    "compiled": vary_compilation,
    "attention": vary_attention,
    "past_the_window": vary_prompt_past_window,
    "threads": vary_threads,
    "half_precision": vary_precision,
}
"""By the names of checks in records, the variations of greedy text."""


@once_per_session
def vary(
    model: LogitsEngine,
    name: str,
    prompts: Sequence[Prompt],
    length: int,
    make: Callable[[], list[Generation]],
    call: VariedCall = SAME,
    find_layer: Callable[..., str] = differing_layer.find_in_texts,
) -> Variation:
    """Compare one variation, identified by its name, once a session."""
    # Both before anything is varied. The noise may take longer texts, which are then truncated.
    tolerance = noise_tolerance(model, prompts, length)
    baseline = generate_greedy(model, prompts, length)
    found = compare_texts(model, name, baseline, make(), tolerance)
    again = partial(generate_texts, model, prompts, length)
    return add_reproduction(
        model, found, prompts, length, call, lambda: find_layer(model, again, make)
    )


def find_layer_of_own_pass(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> str:
    """Say in which decoder layer greedy generation first differs from one pass over its text."""
    return differing_layer.find_in_own_pass(model, partial(generate_texts, model, prompts, length))


def noise_tolerance(model: LogitsEngine, prompts: Sequence[Prompt], length: int) -> float:
    """Return the largest change of a logit that rounding explains along greedy texts.

    An engine that does not show its network is allowed a share of the logits' spread.
    """
    if "weights" in model.capabilities:
        return measure_noise(model, prompts, max(length, NOISE_LENGTH)).tolerance
    baseline = generate_greedy(model, prompts, length)
    return logit_tolerance(map(step_logits, baseline), model.facts().dtype)


def generate_texts(
    model: LogitsEngine, prompts: Sequence[Prompt], length: int, **arguments: Any
) -> list[Generation]:
    """Generate greedy texts with the raw logits of each step in one batch, every time anew."""
    return model.generate_batch(
        prompts,
        max_new_tokens=length,
        do_sample=False,
        output_logits=True,
        **UNPENALIZED,
        **arguments,
    )


def generate_alone(
    model: TransformersEngine, rows: Sequence[Sequence[int]], length: int
) -> list[Generation]:
    """Generate the greedy text of each row alone, under plain settings, once a session.

    >>> from probes import load
    >>> model = load("embedded")
    >>> generate_alone(model, [model.encode("The capital of Japan is")], 2)[0].text
    'Tokyo.'
    """
    texts = [_generate_one(model, row, max(length, LENGTH_ALONE)) for row in rows]
    return [truncate(text, length, model) for text in texts]


@once_per_session
def _generate_one(model: TransformersEngine, row: Sequence[int], length: int) -> Generation:
    with plain_settings(model.network):
        return generate_texts(model, [row], length)[0]


def _generate_with_attention(
    name: str, model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> list[Generation]:
    with use_attention(model, name) as other:
        return generate_texts(other, prompts, length)


@contextmanager
def _use_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
