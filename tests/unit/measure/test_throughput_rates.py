from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

import probes
from probes.errors import UserError
from probes.measure import bytes_read, continuations, quantization, throughput
from probes.measure.continuations import measure_continuations
from probes.measure.throughput import Workload, measure_generation
from probes.plugin.summary import format_run
from probes.report.html.page import render
from probes.report.text import markdown
from tests.support.samples import header, rates, record

if TYPE_CHECKING:
    from probes import Model

pytestmark = pytest.mark.filterwarnings("default")  # what a library warns of is not tested here

TINY = Workload(prompt=6, new=4, samples=2, copied=2**20, repetitions=3, warmups=1)


@pytest.fixture(scope="module")
def model() -> Model:
    return probes.load("embedded")


def test_prefill_and_decode_are_timed_apart(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock counts forward passes as seconds."""
    passes = [0]
    monkeypatch.setattr(throughput, "_now", lambda _: float(passes[0]))
    monkeypatch.setattr(throughput, "measure_bandwidth", lambda *_: 1e9)
    hook = model.network.register_forward_pre_hook(lambda *_: passes.__setitem__(0, passes[0] + 1))
    try:
        prefill, decode = measure_generation(model, 2, TINY)
    finally:
        hook.remove()
    # One pass reads 2 prompts of 6 tokens; three more make the 3 tokens of each after the first.
    assert (prefill.per_second, decode.per_second) == (12.0, 2.0)
    assert passes[0] == 4 * (TINY.repetitions + TINY.warmups)
    assert (prefill.repetitions, prefill.low, prefill.high) == (3, 12.0, 12.0)


def test_limit_is_bandwidth_over_bytes(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "measure_bandwidth", lambda *_: 1e9)
    prefill, decode = measure_generation(model, 2, TINY)
    weights = sum(p.numel() * 4 for p in model.network.parameters())
    assert prefill.bytes_per_token == weights / 12
    # For the second, third and fourth token the cache holds 7, 8 and 9 positions.
    assert decode.bytes_per_token == weights / 2 + 2048 * 8
    assert decode.limit == pytest.approx(1e9 / (weights / 2 + 2048 * 8))
    assert decode.share == pytest.approx((decode.per_second or 0) / (decode.limit or 0))


def test_limits_use_the_bandwidth_that_is_recorded(model: Model) -> None:
    copy = throughput.measure_copy(model, TINY, throughput.repeat_runs)
    assert throughput.measure_bandwidth(model, TINY) == copy.per_second


def test_counted_cache_is_the_real_one(model: Model) -> None:
    ids = torch.tensor([model.encode_prompt("The capital of Japan is")])
    with torch.inference_mode():
        cache = model.network(ids, use_cache=True).past_key_values
    layers = getattr(cache, "layers", None)
    if layers is None:
        pytest.skip("this version of transformers has another cache")
    size = sum(each.nbytes for layer in layers for each in (layer.keys, layer.values))
    assert size == bytes_read.count_cache_bytes(model) * ids.shape[1]


def test_four_bit_weights_are_counted_with_their_scales(model: Model) -> None:
    small = model.variant(quantization="nf4")
    total = quantization.measure_memory(small).total_bytes
    assert bytes_read.count_weight_bytes(small) == total


def test_untied_embedding_is_not_read() -> None:
    embedding, head = torch.nn.Embedding(10, 4), torch.nn.Linear(4, 10, bias=False)
    network = SimpleNamespace(
        get_input_embeddings=lambda: embedding,
        get_output_embeddings=lambda: head,
        parameters=lambda: [embedding.weight, head.weight],
    )
    untied: Any = SimpleNamespace(network=network)
    assert bytes_read.count_weight_bytes(untied) == 10 * 4 * 4


def test_measuring_is_not_counted_as_cost(model: Model) -> None:
    before = model.cost
    measure_generation(model, 1, TINY)
    assert model.cost == before
    model.generate("The", max_new_tokens=1)
    assert model.cost != before


@pytest.mark.parametrize("method", ["loop", "num_return_sequences"])
def test_continuations_are_counted_as_samples(model: Model, method: str) -> None:
    rate = measure_continuations(model, method, TINY)
    assert (rate.what, rate.unit, rate.batch, rate.reason) == (method, "samples", 2, "")
    assert rate.per_second is not None
    assert rate.share == pytest.approx(rate.per_second / (rate.limit or 0))


def test_missing_continuous_batching_is_a_reason(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    batching = continuations.METHODS["continuous batching"]
    bare: Any = SimpleNamespace(network=SimpleNamespace(), encode_prompt=model.encode_prompt)
    monkeypatch.setitem(
        continuations.METHODS, "continuous batching", lambda _, work: batching(bare, work)
    )
    rate = measure_continuations(model, "continuous batching", TINY)
    assert rate.per_second is None
    assert "has no continuous batching of this kind" in rate.reason


def test_impossible_compilation_is_a_reason(model: Model) -> None:
    if model.device.type == "cuda":
        pytest.skip("it is possible here")
    for rate in measure_generation(model, 1, TINY, cache="static", compiled=True):
        assert rate.reason == "transformers compiles on a CUDA device alone, and this is cpu"
        assert rate.per_second is rate.share is None
        assert rate.limit is not None
    for rate in measure_generation(model, 1, TINY, compiled=True):
        assert rate.reason == "transformers compiles the forward pass with a static cache alone"


def test_batch_that_does_not_fit_is_a_reason(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_: Any, **__: Any) -> Any:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(model, "generate_batch", exhaust)
    for rate in measure_generation(model, 128, TINY):
        assert rate.reason == "the device's memory does not hold a batch of 128"


def test_bad_input_is_refused(model: Model) -> None:
    with pytest.raises(UserError, match=r"too little to time: .*; new must be at least 2"):
        Workload(prompt=1, new=1, samples=1, copied=1)
    with pytest.raises(UserError, match="no method 'lopp' of continuing: choose among loop"):
        measure_continuations(model, "lopp", TINY)


def test_run_of_rates_alone_shows_no_empty_table() -> None:
    alone = record(plan=header().model_copy(update={"claims": ()}), throughput=rates())
    assert format_run(alone) == "throughput on embedded: 14 of 15 rates measured\n"
    text = markdown.summarize_run(alone)
    assert "| section |" not in text
    assert "| new tokens, batch 1, dynamic cache | 130 tokens/s | 117 – 143 | 14 % |  |" in text
    page = render(alone)
    assert 'id="throughput"' in page
    assert "transformers compiles on a CUDA device alone" in page
    assert 'id="throughput"' not in render(record())
