"""Check that greedy text stays the same when nothing that should matter changes.

Each variation makes the same greedy texts in another way. Where a text differs from the baseline,
the first difference is judged by its margin, the distance between the baseline's two largest logits
there, against how far rounding moves logits, which `rounding_noise` measures on the baseline alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers.utils.import_utils import is_flash_attn_2_available

from probes.engines.session_cache import once_per_session
from probes.engines.transformers.caches import choose_cache, explain_uncompilable
from probes.engines.transformers.precision import in_float32
from probes.measure.greedy import generate_greedy, step_logits
from probes.measure.reproduction import SAME, VariedCall, describe_conditions, write_calls
from probes.measure.rounding_noise import (
    as_texts,
    logits_along,
    measure_noise,
    simulate_noise,
)
from probes.schema.sampling import UNPENALIZED
from probes.stats.rounding import largest_distance_change, logit_tolerance
from probes.targets.capabilities import TWIN_LIMIT

if TYPE_CHECKING:
    from probes.engines.base import Generation, LogitsEngine, Prompt
    from probes.engines.transformers.engine import TransformersEngine

ROWS = (1, 4, 5, 8, 32, 1536)
"""Numbers of rows at once: on both sides of where libraries are known to change kernels."""

SIMULATED_ROWS = 64
"""Equal rows of one token whose rounding errors are simulated: enough for a narrow tolerance."""

WIDEST_WINDOW = 4096  # widest attention window, in tokens, that a prompt exceeds: Mistral-7B's


@dataclass(frozen=True)
class Difference:
    """Where a greedy text first differs from the baseline."""

    prompt: str
    step: int  # number of the token, from 0
    margin: float  # distance of the baseline's two largest logits at that step
    tokens: tuple[str, str]  # the baseline's token there and the variation's, decoded
    texts: tuple[str, str]

    def describe(self) -> str:
        """Describe the first difference, and how close the choice was.

        >>> Difference("Once upon a time,", 3, 0.25, (" a", " the"), ("", "")).describe()
        "after 'Once upon a time,' token 3 is ' the', not ' a': two logits lie 0.25 apart there"
        """
        expected, found = self.tokens
        return (
            f"after {self.prompt!r} token {self.step} is {found!r}, not {expected!r}: two logits "
            f"lie {self.margin:.2g} apart there"
        )


@dataclass(frozen=True)
class Variation:
    """How the same texts, made in another way, differ."""

    name: str  # what was varied
    texts: int  # their number
    # Largest change of the distance of a likely logit to the largest, up to the first difference.
    noise: float
    tolerance: float  # the largest noise that rounding explains: see `RoundingNoise`
    differences: list[Difference]  # at most one a text
    worst: int = 0  # which text has the most noise, from 0
    conditions: str = ""  # what the first of the two was computed with
    calls: str = ""  # where rounding does not explain it: Python that shows it again

    @property
    def explained(self) -> bool:
        """Whether rounding explains all: noise within tolerance, and only near-ties flipped."""
        near_ties = all(each.margin <= self.tolerance for each in self.differences)
        return self.noise <= self.tolerance and near_ties


def compare_texts(
    model: LogitsEngine,
    name: str,
    baseline: Sequence[Generation],
    varied: Sequence[Generation],
    tolerance: float,
) -> Variation:
    """Compare greedy texts and their logits with the baseline's, step by step."""
    changes, differences = [], []
    for base, other in zip(baseline, varied, strict=True):
        ids, other_ids = base.ids[0], other.ids[0]
        same = count_common_start(ids, other_ids)
        steps = min(same + 1, len(ids), len(other_ids))
        pair = (step_logits(base)[:steps], step_logits(other)[:steps])
        changes.append(largest_distance_change(*pair))
        if same < max(len(ids), len(other_ids)):
            two = step_logits(base)[same].topk(2).values
            tokens = (model.decode(each[same : same + 1]) for each in (ids, other_ids))
            differences.append(
                Difference(
                    prompt=model.decode(base.prompt_ids),
                    step=same,
                    margin=float(two[0] - two[1]),
                    tokens=(next(tokens), next(tokens)),
                    texts=(base.text, other.text),
                )
            )
    noise = max(changes)
    return Variation(name, len(baseline), noise, tolerance, differences, worst=changes.index(noise))


def add_reproduction(
    model: LogitsEngine, found: Variation, prompts: Sequence[Prompt], length: int, call: VariedCall
) -> Variation:
    """Add what the texts were computed with and, where rounding does not explain it, the calls."""
    if "weights" not in model.capabilities:
        return found
    found = replace(found, conditions=describe_conditions(model))
    if found.explained:
        return found
    ids = [model.encode_prompt(prompt) for prompt in prompts]
    rows = [ids[found.worst], max(ids, key=len)]
    return replace(found, calls=write_calls(model, rows, length, call))


def count_common_start(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many token ids two texts share from the start.

    >>> count_common_start([1, 2, 3], [1, 2, 4])
    2
    """
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


# --- variations ----------------------------------------------------------------------------------


def repeat_batch(
    model: LogitsEngine, prompts: Sequence[Prompt], length: int, runs: int
) -> list[Variation]:
    """Make the same batch several times: nothing may change at all."""
    again = partial(_generate, model, prompts, length)
    return [_vary(model, f"run {run}", prompts, length, again) for run in range(2, runs + 1)]


def vary_to_batches_of_one(
    model: LogitsEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Continue each prompt in a batch of its own, without padding."""

    def one_by_one() -> list[Generation]:
        return [_generate(model, [prompt], length)[0] for prompt in prompts]

    alone = VariedCall("ids[:1, -len(rows[0]) :], mask[:1, -len(rows[0]) :]")
    yield _vary(model, "batch of one, no padding", prompts, length, one_by_one, alone)


def vary_to_larger_batch(
    model: LogitsEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Continue every prompt twice in one batch with a longer one, which adds padding."""
    longer = max((model.encode_prompt(prompt) for prompt in prompts), key=len) * 2
    batch = [longer, *prompts, *prompts]

    def in_one_batch() -> list[Generation]:
        return _generate(model, batch, length)[1 : len(prompts) + 1]

    twice = "torch.nn.functional.pad({}.repeat(2, 1), " + f"({len(longer) // 2}, 0))"
    doubled = VariedCall(f"{twice.format('ids')}, {twice.format('mask')}")
    yield _vary(model, "larger batch, more padding", prompts, length, in_one_batch, doubled)


def vary_cache(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Use a static cache, not compiled, and none."""
    for name, arguments in (
        ("static cache", choose_cache("static", compiled=False)),
        ("no cache", {"use_cache": False}),
    ):
        again = partial(_generate, model, prompts, length, **arguments)
        yield _vary(model, name, prompts, length, again, VariedCall.with_settings(arguments))


def vary_compilation(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Compile the forward pass of a static cache, where transformers can; it takes a minute."""
    if not explain_uncompilable(model, "static"):
        arguments = choose_cache("static", compiled=True)
        again = partial(_generate, model, prompts, length, **arguments)
        call = VariedCall.with_settings(arguments)
        yield _vary(model, "static cache, compiled", prompts, length, again, call)


def vary_attention(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Use each other attention implementation.

    Where the library cannot switch a loaded network, it is loaded again if it is small enough.
    """
    if not _can_switch_attention(model) and model.checkpoint.weight_bytes > TWIN_LIMIT:
        return
    for name in _available_attention(model):
        if name != model.network.config._attn_implementation:
            again = partial(_generate_with_attention, name, model, prompts, length)
            call = VariedCall(before=f'model.set_attn_implementation("{name}")')
            yield _vary(model, f"attention {name}", prompts, length, again, call)


def vary_prompt_past_window(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Continue a prompt longer than the attention window, by every cache and attention.

    Only there can a wrong window, or a cache cut at the wrong place, show. Yields nothing where the
    network has no window or one wider than 4,096 tokens.
    """
    config = model.config.get_text_config()
    used = getattr(config, "use_sliding_window", True)
    window = (used and getattr(config, "sliding_window", None)) or 0
    if not 0 < window <= WIDEST_WINDOW:
        return
    ids = [i for prompt in prompts for i in model.encode_prompt(prompt)]
    longer = (ids * (window // len(ids) + 2))[: window + 8]
    for vary in (vary_attention, vary_cache):
        for found in vary(model, [longer], length):
            yield replace(found, name=f"{found.name}, {len(longer)} tokens")


def vary_threads(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Use one thread, or two where one is the rule; on a CPU only."""
    if model.device.type != "cpu":
        return
    count = 1 if torch.get_num_threads() > 1 else 2

    def again() -> list[Generation]:
        with _use_threads(count):
            return _generate(model, prompts, length)

    # The number is left out of the name: runs that differ in it must be comparable.
    call = VariedCall(before=f"torch.set_num_threads({count})")
    yield _vary(model, "another number of threads", prompts, length, again, call)


def vary_precision(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """Compare half precision with float32 along the same text, computed from the same weights.

    A model in float32 gets a copy in bfloat16, which has rounded weights; float32 then computes
    with these. Yields nothing for quantized weights, or too large ones.
    """
    network = model.network
    if getattr(network, "quantization_method", None) or model.checkpoint.weight_bytes > TWIN_LIMIT:
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
        noise = simulate_noise(half, texts, dtype=dtype)
    in_full = [
        replace(text, ids=[each.argmax(dim=-1).tolist()], logits=each.unsqueeze(0))
        for text, each in zip(texts, exact, strict=True)
    ]
    name = str(dtype).removeprefix("torch.")
    found = compare_texts(half, name, in_full, texts, noise.tolerance)
    call = VariedCall(before="model = model.float()")
    return add_reproduction(half, found, prompts, length, call)


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
def _vary(
    model: LogitsEngine,
    name: str,
    prompts: Sequence[Prompt],
    length: int,
    make: Callable[[], list[Generation]],
    call: VariedCall = SAME,
) -> Variation:
    """Compare one variation, identified by its name, once a session."""
    baseline = generate_greedy(model, prompts, length)  # before anything is varied
    tolerance = noise_tolerance(model, prompts, length)
    found = compare_texts(model, name, baseline, make(), tolerance)
    return add_reproduction(model, found, prompts, length, call)


def noise_tolerance(model: LogitsEngine, prompts: Sequence[Prompt], length: int) -> float:
    """Return the largest change of a logit that rounding explains along greedy texts.

    An engine that does not show its network is allowed a share of the logits' spread.
    """
    if "weights" in model.capabilities:
        return measure_noise(model, prompts, length).tolerance
    baseline = generate_greedy(model, prompts, length)
    return logit_tolerance(map(step_logits, baseline), model.facts().dtype)


def _generate(
    model: LogitsEngine, prompts: Sequence[Prompt], length: int, **arguments: Any
) -> list[Generation]:
    return model.generate_batch(
        prompts,
        max_new_tokens=length,
        do_sample=False,
        output_logits=True,
        **UNPENALIZED,
        **arguments,
    )


def _available_attention(model: TransformersEngine) -> list[str]:
    """Return the implementations that this network, device and dtype can use."""
    found = ["eager"]
    if model.network._supports_sdpa:
        found.append("sdpa")
    half = model.network.dtype in (torch.float16, torch.bfloat16)
    if half and model.device.type == "cuda" and is_flash_attn_2_available():
        found.append("flash_attention_2")
    return found


def _can_switch_attention(model: TransformersEngine) -> bool:
    """Return whether transformers is 4.54 or newer."""
    return hasattr(model.network, "set_attn_implementation")


def _generate_with_attention(
    name: str, model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> list[Generation]:
    if not _can_switch_attention(model):
        return _generate(model.variant(attn_implementation=name), prompts, length)
    network = model.network
    before = network.config._attn_implementation
    network.set_attn_implementation(name)
    try:
        return _generate(model, prompts, length)
    finally:
        network.set_attn_implementation(before)


@contextmanager
def _use_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- numbers of rows -----------------------------------------------------------------------------


@dataclass(frozen=True)
class RowCount:
    """How logits change when several equal rows are computed at once."""

    rows: int  # kernels are chosen by their number, those of 4-bit weights above all
    noise: float  # largest change of the distance of a likely logit to the largest of one row alone
    tolerance: float  # the largest noise that rounding explains
    flips: int  # rows with another most likely token than one row alone
    margin: float  # distance of the two largest logits of one row alone

    @property
    def explained(self) -> bool:
        """Whether rounding explains all."""
        return self.noise <= self.tolerance and (not self.flips or self.margin <= self.tolerance)


@torch.inference_mode()
def compare_row_counts(
    model: LogitsEngine, token: int, counts: Sequence[int] = ROWS
) -> list[RowCount]:
    """Compute the logits after one token, the same in every row, at several numbers of rows.

    >>> from probes import load
    >>> [each.rows for each in compare_row_counts(load("embedded"), 415, counts=(1, 4, 5))]
    [1, 4, 5]
    """
    alone = model.logits_batch([[token]])[0]
    two = alone[0].topk(2).values
    tolerance = logit_tolerance([alone], model.facts().dtype)
    if "weights" in model.capabilities:
        tolerance = simulate_noise(model, as_texts([[token]] * SIMULATED_ROWS)).tolerance
    found = []
    for count in counts:
        rows = [row[0] for row in model.logits_batch([[token]] * count)]
        change = largest_distance_change(alone.expand(count, -1), torch.stack(rows))
        flips = sum(int(row.argmax()) != int(alone[0].argmax()) for row in rows)
        margin = float(two[0] - two[1])
        found.append(RowCount(count, change, tolerance, flips, margin))
    return found
