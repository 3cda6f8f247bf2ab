"""Does greedy text stay the same when nothing that should matter changes?

Each variation makes the same greedy texts in another way. Where a text differs from the baseline's,
the first difference is judged by its margin, the distance between the baseline's top two logits
there, against the noise the variation puts into the logits everywhere else.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers.utils.import_utils import is_flash_attn_2_available

from probes.engines.session_cache import once_per_session
from probes.measure.decoding import greedy, step_logits
from probes.schema.sampling import UNPENALIZED
from probes.stats.rounding import logit_tolerance
from probes.targets.capabilities import TWIN_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from probes.engines.base import Generation, Prompt
    from probes.engines.base import LogitsEngine as Model
    from probes.engines.transformers.engine import TransformersEngine

ROWS = (1, 4, 5, 8, 32, 1536)
"""Numbers of rows at once: on either side of where libraries are known to change kernels."""

WIDEST_WINDOW = 4096
"""The widest attention window, in tokens, past which a prompt is tried: Mistral-7B's."""


@dataclass(frozen=True)
class Difference:
    """Where a greedy text first leaves the baseline's.

    Attributes:
        prompt: the prompt, decoded.
        step: number of the token, from 0.
        margin: distance of the baseline's two largest logits at that step.
        tokens: the baseline's token there and the variation's, decoded.
        texts: both texts.
    """

    prompt: str
    step: int
    margin: float
    tokens: tuple[str, str]
    texts: tuple[str, str]

    def in_words(self) -> str:
        """Where the texts part, and how close the choice was.

        >>> Difference("Once upon a time,", 3, 0.25, (" a", " the"), ("", "")).in_words()
        "after 'Once upon a time,' token 3 is ' the', not ' a': two logits lie 0.25 apart there"
        """
        expected, found = self.tokens
        return (
            f"after {self.prompt!r} token {self.step} is {found!r}, not {expected!r}: two logits "
            f"lie {self.margin:.2g} apart there"
        )


@dataclass(frozen=True)
class Variation:
    """What one way of making the same texts changed.

    Attributes:
        name: what was varied.
        texts: how many texts were compared.
        noise: largest change of a logit among the baseline's five likeliest tokens, over all
            steps up to the first difference: until then both continue the same text.
        tolerance: the largest noise that rounding explains here.
        differences: first differences, one a text at most.
    """

    name: str
    texts: int
    noise: float
    tolerance: float
    differences: list[Difference]

    @property
    def explained(self) -> bool:
        """Whether rounding explains all there is: noise within tolerance, only near-ties flipped.

        Two logits that each move by the noise can close a gap of twice that.
        """
        near_ties = all(d.margin <= 2 * self.noise for d in self.differences)
        return self.noise <= self.tolerance and near_ties


def compare_texts(
    model: Model,
    name: str,
    baseline: Sequence[Generation],
    varied: Sequence[Generation],
    dtype: str = "float32",
) -> Variation:
    """Compare greedy texts and the logits behind them with the baseline's, step by step."""
    noise, differences = 0.0, []
    for base, other in zip(baseline, varied, strict=True):
        same = common_length(base.ids[0], other.ids[0])
        steps = min(same + 1, len(base.ids[0]), len(other.ids[0]))
        logits, changed = step_logits(base)[:steps], step_logits(other)[:steps]
        best, top = logits.topk(min(5, logits.shape[-1]), dim=-1)
        again = changed.gather(1, top)
        change = torch.where(best == again, 0.0, (best - again).abs())
        noise = max(noise, float(change.nan_to_num(nan=torch.inf).max()))
        if same < max(len(base.ids[0]), len(other.ids[0])):
            differences.append(_difference(model, base, other, same))
    return Variation(
        name, len(baseline), noise, logit_tolerance(map(step_logits, baseline), dtype), differences
    )


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many token ids two texts share from the start.

    >>> common_length([1, 2, 3], [1, 2, 4])
    2
    """
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _difference(model: Model, base: Generation, other: Generation, step: int) -> Difference:
    top_two = step_logits(base)[step].topk(2).values
    return Difference(
        prompt=model.decode(base.prompt_ids),
        step=step,
        margin=float(top_two[0] - top_two[1]),
        tokens=(
            model.decode(base.ids[0][step : step + 1]),
            model.decode(other.ids[0][step : step + 1]),
        ),
        texts=(base.text, other.text),
    )


def repeated(model: Model, prompts: Sequence[Prompt], length: int, runs: int) -> list[Variation]:
    """The same batch again, several times: nothing may change at all."""
    return [
        _varied(model, f"run {run}", prompts, length, lambda: _greedy(model, prompts, length))
        for run in range(2, runs + 1)
    ]


def alone(model: Model, prompts: Sequence[Prompt], length: int) -> Iterator[Variation]:
    """Each prompt in a batch of its own, without padding."""
    yield _varied(
        model,
        "batch of one, no padding",
        prompts,
        length,
        lambda: [_greedy(model, [prompt], length)[0] for prompt in prompts],
    )


def doubled(model: Model, prompts: Sequence[Prompt], length: int) -> Iterator[Variation]:
    """Every prompt twice in one batch, beside a longer one that pads all of them more."""
    longer = max((model.encode_prompt(prompt) for prompt in prompts), key=len) * 2
    batch = [longer, *prompts, *prompts]
    yield _varied(
        model,
        "larger batch, more padding",
        prompts,
        length,
        lambda: _greedy(model, batch, length)[1 : len(prompts) + 1],
    )


def caches(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """The same texts with a static cache, and with none."""
    for name, arguments in (
        ("static cache", {"cache_implementation": "static"}),
        ("no cache", {"use_cache": False}),
    ):
        again = partial(_greedy, model, prompts, length, **arguments)
        yield _varied(model, name, prompts, length, again)


def attention(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """The same texts under each other attention implementation.

    Where the library cannot switch a loaded network, from a copy, if it is small enough.
    """
    if not _switches_attention(model) and model.checkpoint.weight_bytes > TWIN_LIMIT:
        return
    for name in _present_attention(model):
        if name != model.network.config._attn_implementation:
            again = partial(_greedy_under, name, model, prompts, length)
            yield _varied(model, f"attention {name}", prompts, length, again)


def _present_attention(model: TransformersEngine) -> list[str]:
    """The implementations that this network, device and dtype can use."""
    found = ["eager"]
    if model.network._supports_sdpa:
        found.append("sdpa")
    half = model.network.dtype in (torch.float16, torch.bfloat16)
    if half and model.device.type == "cuda" and is_flash_attn_2_available():
        found.append("flash_attention_2")
    return found


def _switches_attention(model: TransformersEngine) -> bool:
    """From transformers 4.54 on."""
    return hasattr(model.network, "set_attn_implementation")


def _greedy_under(
    attention: str, model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> list[Generation]:
    if not _switches_attention(model):
        return _greedy(model.variant(attn_implementation=attention), prompts, length)
    network = model.network
    present = network.config._attn_implementation
    network.set_attn_implementation(attention)
    try:
        return _greedy(model, prompts, length)
    finally:
        network.set_attn_implementation(present)


@dataclass(frozen=True)
class Rows:
    """What computing so many rows at once changed.

    Attributes:
        rows: how many: kernels are chosen by it, those of 4-bit weights above all.
        noise: largest change, over all rows, of a logit among the five likeliest of one row alone.
        tolerance: the largest noise that rounding explains here.
        flips: rows with another most likely token than one row alone.
        margin: distance of the two largest logits of one row alone.
    """

    rows: int
    noise: float
    tolerance: float
    flips: int
    margin: float

    @property
    def explained(self) -> bool:
        """Whether rounding explains all there is."""
        return self.noise <= self.tolerance and (not self.flips or self.margin <= 2 * self.noise)


@torch.inference_mode()
def by_rows(model: Model, token: int, counts: Sequence[int] = ROWS) -> list[Rows]:
    """Compute the logits after one token, the same in every row, at several numbers of rows.

    Args:
        model: the target.
        token: the token's id.
        counts: how many rows at once; 1 is what the others are compared with.

    >>> from probes import load
    >>> [each.rows for each in by_rows(load("embedded"), 415, counts=(1, 4, 5))]
    [1, 4, 5]
    """
    alone = model.logits_batch([[token]])[0]
    best, top = alone.topk(min(5, alone.shape[-1]), dim=-1)
    two = alone[0].topk(2).values
    allowed = logit_tolerance([alone], model.facts().dtype)
    found = []
    for count in counts:
        rows = [row[0] for row in model.logits_batch([[token]] * count)]
        again = torch.stack([row[top[0]] for row in rows])
        change = (again - best).abs().nan_to_num(nan=torch.inf)
        flips = sum(int(row.argmax()) != int(top[0, 0]) for row in rows)
        margin = float(two[0] - two[1])
        found.append(Rows(count, float(change.max()), allowed, flips, margin))
    return found


def past_the_window(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """A prompt longer than the attention window, by every cache and attention implementation.

    Only there can a window that is wrong, or a cache cut at the wrong place, show. Nothing to vary
    where the network has no window or one wider than 4,096 tokens.
    """
    config = model.config.get_text_config()
    used = getattr(config, "use_sliding_window", True)
    window = (used and getattr(config, "sliding_window", None)) or 0
    if not 0 < window <= WIDEST_WINDOW:
        return
    ids = [i for prompt in prompts for i in model.encode_prompt(prompt)]
    longer = (ids * (window // len(ids) + 2))[: window + 8]
    for variation in (attention, caches):
        for found in variation(model, [longer], length):
            yield replace(found, name=f"{found.name}, {len(longer)} tokens")


def threads(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """The same texts with one thread, or with two where one is the rule; on a CPU only."""
    if model.device.type != "cpu":
        return
    count = 1 if torch.get_num_threads() > 1 else 2

    def again() -> list[Generation]:
        with _threads(count):
            return _greedy(model, prompts, length)

    # Not the number itself: two runs that differ in it are to be comparable.
    yield _varied(model, "another number of threads", prompts, length, again)


def half_precision(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[Variation]:
    """The same texts in bfloat16, from a copy; for a model in float32 only."""
    if model.network.dtype is not torch.float32:
        return
    copy = model.variant(dtype="bfloat16")
    yield _varied(
        model,
        "bfloat16",
        prompts,
        length,
        lambda: _greedy(copy, prompts, length),
        "bfloat16",
    )


@once_per_session
def _varied(
    model: Model,
    name: str,
    prompts: Sequence[Prompt],
    length: int,
    make: Callable[[], list[Generation]],
    dtype: str | None = None,
) -> Variation:
    """Compare one variation, by its name, once a session."""
    baseline = greedy(model, prompts, length)  # before anything is varied
    return compare_texts(model, name, baseline, make(), dtype or model.facts().dtype)


def _greedy(
    model: Model, prompts: Sequence[Prompt], length: int, **arguments: Any
) -> list[Generation]:
    return model.generate_batch(
        prompts,
        max_new_tokens=length,
        do_sample=False,
        output_logits=True,
        **UNPENALIZED,
        **arguments,
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
