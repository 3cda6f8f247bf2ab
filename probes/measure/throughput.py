"""Measure prefill and decode throughput, and the limit that memory bandwidth sets to it.

At batch 1 every weight is read for each new token: decoding cannot be faster than the memory. No
rate is judged here. ``docs/install.md`` says what the limit leaves out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from probes.engines.session_cache import once_per_session
from probes.engines.transformers.caches import choose_cache, explain_uncompilable
from probes.engines.transformers.engine import TransformersEngine
from probes.errors import UserError
from probes.measure.bytes_read import count_bytes_per_token, count_weight_bytes
from probes.schema.record import Rate
from probes.schema.sampling import UNPENALIZED

T = TypeVar("T")


@dataclass(frozen=True)
class Workload:
    """How much work a measurement is."""

    prompt: int  # tokens of each prompt
    new: int  # tokens added to each; at least 2, as decoding is timed after the first
    samples: int  # continuations of one prompt
    copied: int  # bytes of the tensor that is copied
    repetitions: int = 7  # in 98 of 100 cases, the range of 7 covers the median of all runs
    warmups: int = 2  # untimed runs before those

    def __post_init__(self) -> None:
        """Refuse what cannot be timed."""
        if self.new < 2 or min(self.prompt, self.samples, self.copied, self.repetitions) < 1:
            raise UserError(f"too little to time: {self}; new must be at least 2, others 1")


SMALL = Workload(prompt=32, new=17, samples=8, copied=2**28)  # for a CPU: seconds on a small model
LARGE = Workload(prompt=512, new=65, samples=32, copied=2**32)  # for a GPU


def choose_workload(model: TransformersEngine) -> Workload:
    """Return the workload for a model's device."""
    return LARGE if model.device.type == "cuda" else SMALL


class Repeat(Protocol):
    """Runs something several times: `repeat_runs`, or a benchmark's own function."""

    def __call__(self, run: Callable[[], T], repetitions: int, warmups: int) -> list[T]:
        """Run it `warmups` times, then `repetitions` times; return what those returned."""


def repeat_runs(run: Callable[[], T], repetitions: int, warmups: int) -> list[T]:
    """Run something several times, after the warm-up runs.

    >>> repeat_runs(lambda: "run", repetitions=3, warmups=2)
    ['run', 'run', 'run']
    """
    for _ in range(warmups):
        run()
    return [run() for _ in range(repetitions)]


# --- measurements --------------------------------------------------------------------------------


@once_per_session
def measure_copy(
    model: TransformersEngine, workload: Workload, repeat: Repeat = repeat_runs
) -> Rate:
    """Measure the copy bandwidth of the model's device, once a session: limits are made of it.

    Each byte is read and written.

    >>> tiny = Workload(prompt=2, new=2, samples=1, copied=2**20, repetitions=2)
    >>> measure_copy(load("embedded"), tiny).unit
    'bytes'
    """
    source = torch.zeros(workload.copied, dtype=torch.uint8, device=model.device)
    target = torch.empty_like(source)
    seconds = repeat(
        lambda: time_run(model, lambda: target.copy_(source)),
        workload.repetitions,
        workload.warmups,
    )
    return Rate(what="copy", unit="bytes", **summarize(2 * workload.copied, seconds))


def measure_bandwidth(model: TransformersEngine, workload: Workload) -> float:
    """Return the copy bandwidth in bytes a second."""
    return cast("float", measure_copy(model, workload).per_second)


def measure_generation(
    model: TransformersEngine,
    batch: int,  # equal sequences computed together
    workload: Workload,
    *,
    cache: str = "dynamic",  # or `static`: transformers' names
    compiled: bool = False,  # needs a CUDA device and a static cache
    repeat: Repeat = repeat_runs,
) -> list[Rate]:
    """Measure the tokens a second of `generate`: up to the first new token, and after it.

    >>> tiny = Workload(prompt=4, new=3, samples=1, copied=2**20, repetitions=2, warmups=0)
    >>> [rate.what for rate in measure_generation(load("embedded"), 2, tiny)]
    ['prefill', 'decode']
    """
    reason = explain_uncompilable(model, cache) if compiled else ""
    found: list[dict[str, Any]] = [{}, {}]
    if not reason:
        prompts = [make_prompt(model, workload)] * batch
        arguments = fix_length(workload) | choose_cache(cache, compiled=compiled)
        try:
            with record_peak_memory(model) as peak, model.pause_counting():
                seconds = repeat(
                    lambda: _time_phases(model, prompts, arguments),
                    workload.repetitions,
                    workload.warmups,
                )
        except torch.cuda.OutOfMemoryError:
            reason = f"the device's memory does not hold a batch of {batch}"
        else:
            counts = (batch * workload.prompt, batch * (workload.new - 1))
            phases = zip(counts, zip(*seconds, strict=True), strict=True)
            found = [summarize(count, times) | peak for count, times in phases]
    shape: dict[str, Any] = {
        "unit": "tokens",
        "batch": batch,
        "cache": cache,
        "compiled": compiled,
        "prompt_tokens": workload.prompt,
        "new_tokens": workload.new,
        "reason": reason,
    }
    prefill, decode = (
        Rate(what=what, **shape, **each)
        for what, each in zip(("prefill", "decode"), found, strict=True)
    )
    read = count_weight_bytes(model) / (batch * workload.prompt)
    per_new_token = count_bytes_per_token(model, batch, workload.prompt, workload.new)
    return [
        add_limit(model, workload, prefill, read),
        add_limit(model, workload, decode, per_new_token),
    ]


# --- rates and limits ----------------------------------------------------------------------------


def add_limit(
    model: TransformersEngine, workload: Workload, rate: Rate, read: float, tokens: int = 1
) -> Rate:
    """Add the limit to a rate; `tokens` is how many make one of its unit."""
    limit = measure_bandwidth(model, workload) / read / tokens
    share = None if rate.per_second is None else rate.per_second / limit
    return rate.model_copy(update={"bytes_per_token": read, "limit": limit, "share": share})


def summarize(count: float, seconds: Sequence[float]) -> dict[str, Any]:
    """Return the median, lowest and highest rate of `count` in each of several times."""
    rates = [count / each for each in seconds]
    return {
        "per_second": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "repetitions": len(rates),
    }


# --- timing --------------------------------------------------------------------------------------


def _now(model: TransformersEngine) -> float:
    """Return seconds, once the device has finished its work."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    elif model.device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def time_run(model: TransformersEngine, run: Callable[[], object]) -> float:
    """Return the seconds that something takes on the model's device."""
    start = _now(model)
    run()
    return _now(model) - start


@dataclass
class _Clock(StoppingCriteria):
    """Notes when the first and the last token of a generation exist; never stops it."""

    model: TransformersEngine
    last: int
    new: int = 0
    times: list[float] = field(default_factory=list)

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        # Only at the ends: waiting for the device at each token would slow down what is timed.
        self.new += 1
        if self.new in (1, self.last):
            self.times.append(_now(self.model))
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _time_phases(
    model: TransformersEngine, prompts: Sequence[Sequence[int]], arguments: dict[str, Any]
) -> tuple[float, float]:
    """Return the seconds until the first token of a greedy batch, and from there to the last."""
    clock = _Clock(model, last=arguments["max_new_tokens"])
    criteria = StoppingCriteriaList([clock])
    start = _now(model)
    model.generate_batch(prompts, do_sample=False, stopping_criteria=criteria, **arguments)
    first, last = clock.times
    return first - start, last - first


@contextmanager
def record_peak_memory(model: TransformersEngine) -> Iterator[dict[str, Any]]:
    """Record the most memory that torch holds meanwhile; None where that is unknown."""
    found: dict[str, Any] = {"peak_bytes": None}
    on_cuda = model.device.type == "cuda"
    devices = range(torch.cuda.device_count()) if on_cuda else ()  # weights may be split
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)
    yield found
    if on_cuda:
        found["peak_bytes"] = sum(torch.cuda.max_memory_allocated(device) for device in devices)


# --- arguments of generate -----------------------------------------------------------------------


def make_prompt(model: TransformersEngine, workload: Workload) -> list[int]:
    """Return a prompt of the workload's length; its tokens do not matter."""
    ids = model.encode_prompt("The capital of Japan is")
    return (ids * workload.prompt)[: workload.prompt]


def fix_length(workload: Workload) -> dict[str, Any]:
    """Return arguments of `generate` for texts of the workload's length."""
    return {"max_new_tokens": workload.new, "min_new_tokens": workload.new, **UNPENALIZED}
