"""Probes of speed: how fast a target reads and writes, against what its memory allows.

Writing a token at batch 1 means reading every weight once: however fast the arithmetic, it cannot
be faster than the memory. That limit is computed here from the bytes that must be read and the
bandwidth measured on the device. Nothing here judges a rate. ``docs/throughput.md`` says what the
limit leaves out.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import torch
import transformers
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from probes.engines.session_cache import once_per_session
from probes.errors import UserError
from probes.schema.record import Rate
from probes.schema.sampling import UNPENALIZED, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from probes.engines.transformers.engine import TransformersEngine as Model

T = TypeVar("T")

# --- arithmetic ----------------------------------------------------------------------------------


def cache_bytes(layers: int, heads: int, width: int, element: int) -> int:
    """Bytes of the key-value cache at one position of one sequence.

    Args:
        layers: of the network.
        heads: of keys and values, in each layer.
        width: numbers in a head.
        element: bytes of a number.

    >>> cache_bytes(layers=32, heads=8, width=128, element=2)  # Mistral-7B in fp16
    131072
    """
    return 2 * layers * heads * width * element


def bytes_per_token(weights: int, batch: int, cache: int, positions: float) -> float:
    """Bytes that must be read for each token written.

    The weights are read once for all sequences of a batch, each sequence's cache for it alone.

    Args:
        weights: bytes of the weights that a forward pass reads.
        batch: sequences written together.
        cache: bytes of the cache at one position of one sequence.
        positions: that the cache holds, on average over the tokens written.

    Raises:
        UserError: the batch is below 1.

    >>> bytes_per_token(weights=1000, batch=1, cache=2, positions=50)
    1100.0
    >>> bytes_per_token(weights=1000, batch=10, cache=2, positions=50)
    200.0
    """
    if batch < 1:
        raise UserError(f"a batch has at least 1 sequence, not {batch}")
    return weights / batch + cache * positions


def limit(bandwidth: float, read: float) -> float:
    """Tokens a second where nothing but reading takes time.

    Args:
        bandwidth: bytes a second.
        read: bytes read a token.

    Raises:
        UserError: no bytes are read.

    >>> limit(bandwidth=3e12, read=15e9)
    200.0
    """
    if read <= 0:
        raise UserError(f"the bytes read a token must be above 0, not {read}")
    return bandwidth / read


def share(rate: float, of: float) -> float:
    """A rate as a share of its limit.

    Raises:
        UserError: the limit is not above 0.

    >>> share(50.0, of=200.0)
    0.25
    """
    if of <= 0:
        raise UserError(f"a limit must be above 0, not {of}")
    return rate / of


# --- how much is measured ------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """How much work a measurement is.

    Attributes:
        prompt: tokens of each prompt.
        new: tokens added to each; at least 2, as decoding is timed after the first.
        samples: continuations of one prompt.
        copied: bytes of the tensor that is copied.
        repetitions: timed runs. With seven, their range covers the median of all such runs in
            98 of 100 cases, whatever their distribution.
        warmups: runs before those.
    """

    prompt: int
    new: int
    samples: int
    copied: int
    repetitions: int = 7
    warmups: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be timed."""
        if self.new < 2 or min(self.prompt, self.samples, self.copied, self.repetitions) < 1:
            raise UserError(f"too little to time: {self}; new must be at least 2, others 1")


SMALL = Sizes(prompt=32, new=17, samples=8, copied=2**28)
"""For a CPU: seconds on a small model."""

LARGE = Sizes(prompt=512, new=129, samples=32, copied=2**32)
"""For a GPU."""


def sizes_for(model: Model) -> Sizes:
    """The sizes that suit a model's device.

    >>> from probes import load
    >>> sizes_for(load("embedded").variant(dtype="float32")) in (SMALL, LARGE)
    True
    """
    return LARGE if model.device.type == "cuda" else SMALL


class Repeat(Protocol):
    """What runs something several times: `repeated`, or a benchmark's own way."""

    def __call__(self, run: Callable[[], T], repetitions: int, warmups: int) -> list[T]:
        """Run it `warmups` times for nothing, then `repetitions` times.

        Returns:
            What each of the repetitions returned.
        """


def repeated(run: Callable[[], T], repetitions: int, warmups: int) -> list[T]:
    """Run something several times, what warms up apart.

    >>> ran = []
    >>> len(repeated(lambda: ran.append(1), repetitions=3, warmups=2)), len(ran)
    (3, 5)
    """
    for _ in range(warmups):
        run()
    return [run() for _ in range(repetitions)]


# --- the parts of a measurement ------------------------------------------------------------------


def weights_read(model: Model) -> int:
    """Bytes of the weights that a forward pass reads, scales of quantized ones included.

    Of an embedding that is not also the output head only the rows of the tokens are looked up: it
    is left out.

    >>> from probes import load
    >>> model = load("embedded")
    >>> weights_read(model) == model.network.get_memory_footprint(return_buffers=False)
    True
    """
    network = model.network
    looked_up = network.get_input_embeddings().weight
    head = network.get_output_embeddings()
    tied = head is not None and head.weight is looked_up
    read = [weight for weight in network.parameters() if tied or weight is not looked_up]
    return sum(_stored_bytes(weight) for weight in read)


def _stored_bytes(weight: Any) -> int:
    scales = getattr(getattr(weight, "quant_state", None), "absmax", None)
    size = int(weight.numel() * weight.element_size())
    return size if scales is None else size + int(scales.numel() * scales.element_size())


def cache_bytes_of(model: Model) -> int:
    """Bytes of a model's key-value cache at one position of one sequence.

    >>> from probes import load
    >>> cache_bytes_of(load("embedded"))  # 4 layers, 2 heads of 32 numbers of 4 bytes
    2048
    """
    config: Any = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    return cache_bytes(config.num_hidden_layers, kept, width, model.network.dtype.itemsize)


def _positions(model: Model, sizes: Sizes) -> float:
    """Positions the cache holds, on average over the tokens after the first."""
    window = getattr(model.config.get_text_config(), "sliding_window", None) or float("inf")
    held = [min(sizes.prompt + written, window) for written in range(1, sizes.new)]
    return float(statistics.mean(held))


@dataclass
class _Clock(StoppingCriteria):
    """Notes when the first and the last token of a generation exist; stops nothing."""

    model: Model
    last: int
    new: int = 0
    seen: list[float] = field(default_factory=list)

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        # Only at the ends: waiting for the device at each token would slow down what is timed.
        self.new += 1
        if self.new in (1, self.last):
            self.seen.append(_now(self.model))
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _now(model: Model) -> float:
    """Seconds, once the device has done all it was given."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    elif model.device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


@contextmanager
def _peak(model: Model) -> Iterator[list[int]]:
    """Collects the most memory that torch held meanwhile; nothing where that is not known."""
    found: list[int] = []
    on_cuda = model.device.type == "cuda"
    devices = range(torch.cuda.device_count()) if on_cuda else ()  # weights may be split
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)
    yield found
    if on_cuda:
        found.append(sum(torch.cuda.max_memory_allocated(device) for device in devices))


def _spread(counted: float, seconds: Sequence[float]) -> dict[str, Any]:
    """Median, lowest and highest rate of what was counted in each of several times."""
    found = [counted / each for each in seconds]
    return {
        "per_second": statistics.median(found),
        "low": min(found),
        "high": max(found),
        "repetitions": len(found),
    }


def _bounded(model: Model, sizes: Sizes, rate: Rate, read: float, tokens: int = 1) -> Rate:
    """The rate with its limit; `tokens` is how many make one of its unit."""
    highest = limit(bandwidth(model, sizes), read) / tokens
    found = {"bytes_per_token": read, "limit": highest}
    if rate.per_second is not None:
        found["share"] = share(rate.per_second, of=highest)
    return rate.model_copy(update=found)


# --- what is measured ----------------------------------------------------------------------------


@once_per_session
def copy(model: Model, sizes: Sizes, repeat: Repeat = repeated) -> Rate:
    """Bandwidth of the model's device: a large tensor is copied, its bytes read and written.

    Returns:
        Bytes a second, twice the tensor's for each copy.

    >>> from probes import load
    >>> tiny = Sizes(prompt=2, new=2, samples=1, copied=2**20, repetitions=2)
    >>> copy(load("embedded"), tiny).per_second > 0
    True
    """
    source = torch.zeros(sizes.copied, dtype=torch.uint8, device=model.device)
    target = torch.empty_like(source)

    def once() -> float:
        start = _now(model)
        target.copy_(source)
        return _now(model) - start

    seconds = repeat(once, sizes.repetitions, sizes.warmups)
    return Rate(what="copy", unit="bytes", **_spread(2 * sizes.copied, seconds))


def bandwidth(model: Model, sizes: Sizes) -> float:
    """The copy bandwidth of the model's device in bytes a second, measured once a session."""
    return copy(model, sizes).per_second or 0.0


def generation(
    model: Model,
    batch: int,
    sizes: Sizes,
    *,
    cache: str = "dynamic",
    compiled: bool = False,
    repeat: Repeat = repeated,
) -> list[Rate]:
    """Tokens a second of `generate`: the prompt up to the first token, and those after it.

    Args:
        model: the target.
        batch: sequences computed together, all alike and of one length.
        sizes: how long they are.
        cache: `dynamic` or `static`, transformers' own kinds.
        compiled: whether the forward pass is compiled; on a CUDA device with a static cache alone.
        repeat: runs it several times.

    Returns:
        Rates of `prefill` and of `decode`; with a reason where they could not be measured.

    >>> from probes import load
    >>> tiny = Sizes(prompt=4, new=3, samples=1, copied=2**20, repetitions=2, warmups=0)
    >>> [rate.what for rate in generation(load("embedded"), 2, tiny)]
    ['prefill', 'decode']
    """
    reason = _cannot(model, cache, compiled)
    about: dict[str, Any] = {
        "unit": "tokens",
        "batch": batch,
        "cache": cache,
        "compiled": compiled,
        "prompt_tokens": sizes.prompt,
        "new_tokens": sizes.new,
        "reason": reason or "",
    }
    prefill, decode = (Rate(what="prefill", **about), Rate(what="decode", **about))
    if reason is None:
        prompts = [_prompt(model, sizes)] * batch
        arguments = _arguments(sizes) | _cache_arguments(cache, compiled)
        try:
            with _peak(model) as peak, model.pause_counting():
                seconds = repeat(
                    lambda: _passage(model, prompts, arguments), sizes.repetitions, sizes.warmups
                )
        except torch.cuda.OutOfMemoryError:
            found = [{"reason": f"the device's memory does not hold a batch of {batch}"}] * 2
        else:
            most = {"peak_bytes": peak[0] if peak else None}
            found = [
                _spread(batch * sizes.prompt, [first for first, _ in seconds]) | most,
                _spread(batch * (sizes.new - 1), [rest for _, rest in seconds]) | most,
            ]
        prefill, decode = (
            rate.model_copy(update=each)
            for rate, each in zip((prefill, decode), found, strict=True)
        )
    weights, kept = weights_read(model), cache_bytes_of(model)
    written = bytes_per_token(weights, batch, kept, _positions(model, sizes))
    return [
        _bounded(model, sizes, prefill, weights / (batch * sizes.prompt)),
        _bounded(model, sizes, decode, written),
    ]


def continuations(model: Model, way: str, sizes: Sizes, repeat: Repeat = repeated) -> Rate:
    """Samples a second of one prompt's many continuations, drawn at temperature 1.

    Args:
        model: the target.
        way: `loop`, a call of `generate` a sample, as published; `num_return_sequences`, one call
            for all; or `continuous batching`, transformers' own scheduler, whose start is not
            timed.
        sizes: how many and how long.
        repeat: runs it several times.

    Returns:
        The rate, with a reason where it could not be measured.

    Raises:
        UserError: there is no such way.

    >>> from probes import load
    >>> tiny = Sizes(prompt=4, new=2, samples=2, copied=2**20, repetitions=2, warmups=0)
    >>> continuations(load("embedded"), "loop", tiny).unit
    'samples'
    """
    if way not in WAYS:
        raise UserError(f"no way {way!r} of making continuations: choose among {', '.join(WAYS)}")
    rate = Rate(
        what=cast("Any", way),
        unit="samples",
        batch=sizes.samples,
        cache="paged" if way == "continuous batching" else "dynamic",
        prompt_tokens=sizes.prompt,
        new_tokens=sizes.new,
    )
    try:
        with _peak(model) as peak, model.pause_counting(), WAYS[way](model, sizes) as run:
            seconds = repeat(lambda: _timed(model, run), sizes.repetitions, sizes.warmups)
    except Unavailable as unavailable:
        rate = rate.model_copy(update={"reason": str(unavailable)})
    else:
        most = {"peak_bytes": peak[0] if peak else None}
        rate = rate.model_copy(update=_spread(sizes.samples, seconds) | most)
    together = 1 if way == "loop" else sizes.samples
    read = bytes_per_token(
        weights_read(model), together, cache_bytes_of(model), _positions(model, sizes)
    )
    return _bounded(model, sizes, rate, read, tokens=sizes.new)


# --- how it is done ------------------------------------------------------------------------------


class Unavailable(Exception):  # noqa: N818 - it is no error of anyone's
    """The installed libraries cannot do it; the message says why."""


def _cannot(model: Model, cache: str, compiled: bool) -> str | None:
    """Why a generation cannot be made so; None if it can."""
    if not compiled:
        return None
    if cache != "static":
        return "transformers compiles the forward pass with a static cache alone"
    if model.device.type != "cuda":
        return f"transformers compiles on a CUDA device alone, and this is {model.device.type}"
    if not hasattr(GenerationConfig(), "disable_compile"):
        return f"transformers {transformers.__version__} does not say whether it compiles"
    return None


def _cache_arguments(cache: str, compiled: bool) -> dict[str, Any]:
    if cache == "dynamic":
        return {}
    known = hasattr(GenerationConfig(), "disable_compile")  # else it compiles on request alone
    return {"cache_implementation": cache} | ({"disable_compile": not compiled} if known else {})


def _prompt(model: Model, sizes: Sizes) -> list[int]:
    """A prompt of the length asked for: which tokens it has costs nothing."""
    ids = model.encode_prompt("The capital of Japan is")
    return (ids * sizes.prompt)[: sizes.prompt]


def _arguments(sizes: Sizes) -> dict[str, Any]:
    """What makes `generate` write so many tokens and no fewer."""
    return {"max_new_tokens": sizes.new, "min_new_tokens": sizes.new, **UNPENALIZED}


def _passage(
    model: Model, prompts: Sequence[Sequence[int]], arguments: dict[str, Any]
) -> tuple[float, float]:
    """Seconds until the first token of one greedy batch, and from there to the last."""
    clock = _Clock(model, last=arguments["max_new_tokens"])
    criteria = StoppingCriteriaList([clock])
    start = _now(model)
    model.generate_batch(prompts, do_sample=False, stopping_criteria=criteria, **arguments)
    first, last = clock.seen
    return first - start, last - first


def _timed(model: Model, run: Callable[[], None]) -> float:
    start = _now(model)
    run()
    return _now(model) - start


DRAWN = Sampling(temperature=1.0, top_k=0)
"""How continuations are drawn: nothing is filtered, so that all ways have the same to do."""


@contextmanager
def _loop(model: Model, sizes: Sizes) -> Iterator[Callable[[], None]]:
    prompt, arguments = _prompt(model, sizes), _arguments(sizes)

    def run() -> None:
        for seed in range(sizes.samples):
            model.generate(prompt, sampling=DRAWN, seed=seed, **arguments)

    yield run


@contextmanager
def _one_call(model: Model, sizes: Sizes) -> Iterator[Callable[[], None]]:
    prompt, arguments = _prompt(model, sizes), _arguments(sizes)
    yield lambda: _ignored(
        model.generate(
            prompt, sampling=DRAWN, seed=0, num_return_sequences=sizes.samples, **arguments
        )
    )


def _ignored(_: object) -> None:
    return None


@contextmanager
def _continuous(model: Model, sizes: Sizes) -> Iterator[Callable[[], None]]:
    network, prompt = model.network, _prompt(model, sizes)
    if not hasattr(network, "continuous_batching_context_manager"):
        raise Unavailable(
            f"transformers {transformers.__version__} has no continuous batching of this kind"
        )
    # No token has the id -1: nothing ends a text early.
    config = GenerationConfig(
        max_new_tokens=sizes.new, do_sample=True, temperature=1.0, top_k=0, eos_token_id=-1
    )

    def run(manager: Any) -> None:
        manager.add_requests([prompt] * sizes.samples, max_new_tokens=sizes.new)
        finished = 0
        while finished < sizes.samples:
            result = manager.get_result(timeout=1)
            if result is None and not manager.is_running():
                raise Unavailable("transformers' continuous batching stopped by itself here")
            if result is not None and result.error is not None:
                raise Unavailable(f"transformers' continuous batching failed: {result.error}")
            finished += result is not None and bool(result.is_finished())

    with ExitStack() as stack:
        try:
            manager = stack.enter_context(
                network.continuous_batching_context_manager(generation_config=config)
            )
        except (RuntimeError, ValueError, TypeError, AttributeError, ImportError) as error:
            raise Unavailable(
                f"transformers' continuous batching cannot begin here: {error}"
            ) from error
        yield lambda: run(manager)


WAYS: dict[str, Any] = {
    "loop": _loop,
    "num_return_sequences": _one_call,
    "continuous batching": _continuous,
}
"""By name, the ways in which continuations of one prompt are made."""
