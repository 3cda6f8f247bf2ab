"""Measure prefill and decode throughput, and the limit that memory bandwidth sets to it.

At batch 1 every weight is read for each new token: decoding cannot be faster than the memory. No
rate is judged here. ``docs/throughput.md`` says what the limit leaves out.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import torch
import transformers
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from probes.engines.session_cache import once_per_session
from probes.errors import UserError
from probes.schema.record import Rate
from probes.schema.sampling import UNPENALIZED, Sampling
from probes.stats.roofline import bytes_per_token, kv_cache_bytes, max_tokens_per_second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from probes.engines.transformers.engine import TransformersEngine

T = TypeVar("T")

UNFILTERED = Sampling(temperature=1.0, top_k=0)
"""How continuations are sampled: without filters, so that all methods do the same work."""


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
LARGE = Workload(prompt=512, new=129, samples=32, copied=2**32)  # for a GPU


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

    >>> from probes import load
    >>> tiny = Workload(prompt=2, new=2, samples=1, copied=2**20, repetitions=2)
    >>> measure_copy(load("embedded"), tiny).unit
    'bytes'
    """
    source = torch.zeros(workload.copied, dtype=torch.uint8, device=model.device)
    target = torch.empty_like(source)
    seconds = repeat(
        lambda: _time(model, lambda: target.copy_(source)), workload.repetitions, workload.warmups
    )
    return Rate(what="copy", unit="bytes", **_summarize(2 * workload.copied, seconds))


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

    >>> from probes import load
    >>> tiny = Workload(prompt=4, new=3, samples=1, copied=2**20, repetitions=2, warmups=0)
    >>> [rate.what for rate in measure_generation(load("embedded"), 2, tiny)]
    ['prefill', 'decode']
    """
    reason = _explain_uncompilable(model, cache) if compiled else ""
    shape: dict[str, Any] = {
        "unit": "tokens",
        "batch": batch,
        "cache": cache,
        "compiled": compiled,
        "prompt_tokens": workload.prompt,
        "new_tokens": workload.new,
        "reason": reason,
    }
    prefill, decode = {"what": "prefill", **shape}, {"what": "decode", **shape}
    if not reason:
        prompts = [_make_prompt(model, workload)] * batch
        arguments = _fix_length(workload) | _choose_cache(cache, compiled=compiled)
        try:
            with _record_peak_memory(model) as peak, model.pause_counting():
                seconds = repeat(
                    lambda: _time_phases(model, prompts, arguments),
                    workload.repetitions,
                    workload.warmups,
                )
        except torch.cuda.OutOfMemoryError:
            reason = f"the device's memory does not hold a batch of {batch}"
            prefill |= {"reason": reason}
            decode |= {"reason": reason}
        else:
            first, rest = zip(*seconds, strict=True)
            prefill |= _summarize(batch * workload.prompt, first) | peak
            decode |= _summarize(batch * (workload.new - 1), rest) | peak
    weights = count_weight_bytes(model)
    per_new_token = _read_per_token(model, workload, batch)
    return [
        _add_limit(model, workload, Rate(**prefill), weights / (batch * workload.prompt)),
        _add_limit(model, workload, Rate(**decode), per_new_token),
    ]


def measure_continuations(
    model: TransformersEngine, method: str, workload: Workload, repeat: Repeat = repeat_runs
) -> Rate:
    """Measure the samples a second of many continuations of one prompt, at temperature 1.

    The method is `loop`, a call of `generate` for each sample, as published;
    `num_return_sequences`, one call for all; or `continuous batching`, transformers' own scheduler,
    whose start is not timed.

    >>> from probes import load
    >>> tiny = Workload(prompt=4, new=2, samples=2, copied=2**20, repetitions=2, warmups=0)
    >>> measure_continuations(load("embedded"), "loop", tiny).unit
    'samples'
    """
    if method not in METHODS:
        raise UserError(f"no method {method!r} of continuing: choose among {', '.join(METHODS)}")
    rate = Rate(
        what=method,
        unit="samples",
        batch=workload.samples,
        cache="paged" if method == "continuous batching" else "dynamic",
        prompt_tokens=workload.prompt,
        new_tokens=workload.new,
    )
    try:
        with (
            _record_peak_memory(model) as peak,
            model.pause_counting(),
            METHODS[method](model, workload) as run,
        ):
            seconds = repeat(lambda: _time(model, run), workload.repetitions, workload.warmups)
    except UnavailableError as unavailable:
        found: dict[str, Any] = {"reason": str(unavailable)}
    else:
        found = _summarize(workload.samples, seconds) | peak
    read = _read_per_token(model, workload, 1 if method == "loop" else workload.samples)
    return _add_limit(model, workload, rate.model_copy(update=found), read, tokens=workload.new)


# --- bytes and limits ----------------------------------------------------------------------------


def count_weight_bytes(model: TransformersEngine) -> int:
    """Return the bytes of the weights that a forward pass reads, scales of quantized ones included.

    An embedding that is not also the output head is left out: only a few of its rows are read.

    >>> from probes import load
    >>> model = load("embedded")
    >>> count_weight_bytes(model) == model.network.get_memory_footprint(return_buffers=False)
    True
    """
    network = model.network
    embedding = network.get_input_embeddings().weight
    head = network.get_output_embeddings()
    tied = head is not None and head.weight is embedding
    read = [weight for weight in network.parameters() if tied or weight is not embedding]
    return sum(_stored_bytes(weight) for weight in read)


def _stored_bytes(weight: Any) -> int:
    scales = getattr(getattr(weight, "quant_state", None), "absmax", None)
    size = int(weight.numel() * weight.element_size())
    return size if scales is None else size + int(scales.numel() * scales.element_size())


def count_cache_bytes(model: TransformersEngine) -> int:
    """Return the bytes of a model's key-value cache at one position of one sequence.

    >>> from probes import load
    >>> count_cache_bytes(load("embedded"))  # 4 layers, 2 heads of 32 numbers of 4 bytes
    2048
    """
    config: Any = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    return kv_cache_bytes(config.num_hidden_layers, kept, width, model.network.dtype.itemsize)


def _read_per_token(model: TransformersEngine, workload: Workload, batch: int) -> float:
    """Return the bytes read for each new token, with the cache as long as it is on average."""
    window = getattr(model.config.get_text_config(), "sliding_window", None) or float("inf")
    positions = statistics.mean(
        min(workload.prompt + written, window) for written in range(1, workload.new)
    )
    return bytes_per_token(count_weight_bytes(model), batch, count_cache_bytes(model), positions)


def _add_limit(
    model: TransformersEngine, workload: Workload, rate: Rate, read: float, tokens: int = 1
) -> Rate:
    """Add the limit to a rate; `tokens` is how many make one of its unit."""
    limit = max_tokens_per_second(measure_bandwidth(model, workload), read) / tokens
    share = None if rate.per_second is None else rate.per_second / limit
    return rate.model_copy(update={"bytes_per_token": read, "limit": limit, "share": share})


def _summarize(count: float, seconds: Sequence[float]) -> dict[str, Any]:
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


def _time(model: TransformersEngine, run: Callable[[], object]) -> float:
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
def _record_peak_memory(model: TransformersEngine) -> Iterator[dict[str, Any]]:
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


def _make_prompt(model: TransformersEngine, workload: Workload) -> list[int]:
    """Return a prompt of the workload's length; its tokens do not matter."""
    ids = model.encode_prompt("The capital of Japan is")
    return (ids * workload.prompt)[: workload.prompt]


def _fix_length(workload: Workload) -> dict[str, Any]:
    return {"max_new_tokens": workload.new, "min_new_tokens": workload.new, **UNPENALIZED}


def _explain_uncompilable(model: TransformersEngine, cache: str) -> str:
    """Return why the forward pass cannot be compiled; empty if it can."""
    if cache != "static":
        return "transformers compiles the forward pass with a static cache alone"
    if model.device.type != "cuda":
        return f"transformers compiles on a CUDA device alone, and this is {model.device.type}"
    if not hasattr(GenerationConfig(), "disable_compile"):
        return f"transformers {transformers.__version__} does not say whether it compiles"
    return ""


def _choose_cache(cache: str, *, compiled: bool) -> dict[str, Any]:
    if cache == "dynamic":
        return {}
    known = hasattr(GenerationConfig(), "disable_compile")  # otherwise it compiles on request only
    return {"cache_implementation": cache} | ({"disable_compile": not compiled} if known else {})


# --- methods of continuing one prompt ------------------------------------------------------------


class UnavailableError(Exception):
    """The installed libraries cannot do it; the message says why."""


def _in_a_loop(
    model: TransformersEngine, workload: Workload
) -> AbstractContextManager[Callable[[], object]]:
    prompt, arguments = _make_prompt(model, workload), _fix_length(workload)

    def run() -> None:
        for seed in range(workload.samples):
            model.generate(prompt, sampling=UNFILTERED, seed=seed, **arguments)

    return nullcontext(run)


def _in_one_call(
    model: TransformersEngine, workload: Workload
) -> AbstractContextManager[Callable[[], object]]:
    arguments = _fix_length(workload) | {"num_return_sequences": workload.samples}
    prompt = _make_prompt(model, workload)
    return nullcontext(partial(model.generate, prompt, sampling=UNFILTERED, seed=0, **arguments))


@contextmanager
def _by_continuous_batching(
    model: TransformersEngine, workload: Workload
) -> Iterator[Callable[[], None]]:
    network, prompt = model.network, _make_prompt(model, workload)
    if not hasattr(network, "continuous_batching_context_manager"):
        raise UnavailableError(
            f"transformers {transformers.__version__} has no continuous batching of this kind"
        )
    # No token has the id -1: every text has its full length.
    config = GenerationConfig(
        max_new_tokens=workload.new, do_sample=True, temperature=1.0, top_k=0, eos_token_id=-1
    )

    def run(manager: Any) -> None:
        manager.add_requests([prompt] * workload.samples, max_new_tokens=workload.new)
        finished = 0
        while finished < workload.samples:
            result = manager.get_result(timeout=1)
            if result is None and not manager.is_running():
                raise UnavailableError("transformers' continuous batching stopped by itself here")
            if result is not None and result.error is not None:
                raise UnavailableError(f"transformers' continuous batching failed: {result.error}")
            finished += result is not None and bool(result.is_finished())

    with ExitStack() as stack:
        try:
            manager = stack.enter_context(
                network.continuous_batching_context_manager(generation_config=config)
            )
        except (RuntimeError, ValueError, TypeError, AttributeError, ImportError) as error:
            raise UnavailableError(
                f"transformers' continuous batching cannot begin here: {error}"
            ) from error
        yield lambda: run(manager)


METHODS: dict[str, Any] = {
    "loop": _in_a_loop,
    "num_return_sequences": _in_one_call,
    "continuous batching": _by_continuous_batching,
}
"""By name, the methods of continuing one prompt many times."""
