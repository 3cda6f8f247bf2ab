"""Measure the throughput of many continuations of one prompt, by several methods."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import transformers
from transformers import GenerationConfig

from probes.errors import UserError
from probes.measure import throughput
from probes.measure.bytes_read import count_bytes_per_token
from probes.measure.throughput import Repeat, Workload, repeat_runs
from probes.schema.record import Rate
from probes.schema.sampling import Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probes.engines.transformers.engine import TransformersEngine

    Run = AbstractContextManager[Callable[[], object]]

UNFILTERED = Sampling(temperature=1.0, top_k=0)
"""How continuations are sampled: without filters, so that all methods do the same work."""


class UnavailableError(Exception):
    """The installed libraries cannot do it; the message says why."""


def measure_continuations(
    model: TransformersEngine, method: str, workload: Workload, repeat: Repeat = repeat_runs
) -> Rate:
    """Measure the samples a second of many continuations of one prompt, at temperature 1.

    The method is `loop`, a call of `generate` for each sample, as published;
    `num_return_sequences`, one call for all; or `continuous batching`, transformers' own scheduler,
    whose start is not timed.

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
            throughput.record_peak_memory(model) as peak,
            model.pause_counting(),
            METHODS[method](model, workload) as run,
        ):
            seconds = repeat(
                lambda: throughput.time_run(model, run), workload.repetitions, workload.warmups
            )
    except UnavailableError as unavailable:
        found: dict[str, Any] = {"reason": str(unavailable)}
    else:
        found = throughput.summarize(workload.samples, seconds) | peak
    batch = 1 if method == "loop" else workload.samples
    read = count_bytes_per_token(model, batch, workload.prompt, workload.new)
    rate = rate.model_copy(update=found)
    return throughput.add_limit(model, workload, rate, read, tokens=workload.new)


def _in_a_loop(model: TransformersEngine, workload: Workload) -> Run:
    prompt, arguments = throughput.make_prompt(model, workload), throughput.fix_length(workload)

    def run() -> None:
        for seed in range(workload.samples):
            model.generate(prompt, sampling=UNFILTERED, seed=seed, **arguments)

    return nullcontext(run)


def _in_one_call(model: TransformersEngine, workload: Workload) -> Run:
    arguments = throughput.fix_length(workload) | {"num_return_sequences": workload.samples}
    prompt = throughput.make_prompt(model, workload)
    return nullcontext(partial(model.generate, prompt, sampling=UNFILTERED, seed=0, **arguments))


@contextmanager
def _by_continuous_batching(
    model: TransformersEngine, workload: Workload
) -> Iterator[Callable[[], object]]:
    network, prompt = model.network, throughput.make_prompt(model, workload)
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


METHODS: dict[str, Callable[[TransformersEngine, Workload], Run]] = {
    "loop": _in_a_loop,
    "num_return_sequences": _in_one_call,
    "continuous batching": _by_continuous_batching,
}
"""By name, the methods of continuing one prompt many times."""
