"""What throughput is made of: bytes, limits, what is counted in what time."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import probes
from probes.errors import UserError
from probes.measure import throughput
from probes.plugin.summary import summary
from probes.report.html.page import render
from probes.report.text import markdown
from tests.support.samples import header, rates, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes import Model
    from probes.measure.throughput import Sizes

pytestmark = pytest.mark.filterwarnings("default")  # what a library warns of is not tested here


@pytest.fixture(scope="module")
def tiny() -> Sizes:
    return throughput.Sizes(prompt=6, new=4, samples=2, copied=2**20, repetitions=3, warmups=1)


@pytest.fixture(scope="module")
def model() -> Model:
    return probes.load("embedded")


def ticking(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock that counts the forward passes made so far as seconds."""
    passes = [0]
    monkeypatch.setattr(throughput, "_now", lambda _: float(passes[0]))
    return passes


def test_prompt_and_new_tokens_are_timed_apart(
    model: Model, tiny: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = ticking(monkeypatch)
    hook = model.network.register_forward_pre_hook(lambda *_: passes.__setitem__(0, passes[0] + 1))
    try:
        monkeypatch.setattr(throughput, "bandwidth", lambda *_: 1e9)
        prefill, decode = throughput.generation(model, 2, tiny)
    finally:
        hook.remove()
    # One pass reads 2 prompts of 6 tokens; three more write the 3 tokens of each after the first.
    assert (prefill.per_second, decode.per_second) == (12.0, 2.0)
    assert passes[0] == 4 * (tiny.repetitions + tiny.warmups)
    assert (prefill.repetitions, prefill.low, prefill.high) == (3, 12.0, 12.0)


def test_the_limit_is_the_bandwidth_over_the_bytes_of_weights_and_cache(
    model: Model, tiny: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "bandwidth", lambda *_: 1e9)
    prefill, decode = throughput.generation(model, 2, tiny)
    weights = sum(p.numel() * 4 for p in model.network.parameters())
    assert prefill.bytes_per_token is not None
    assert decode.bytes_per_token is not None
    # While the second, third and fourth token are written the cache holds 7, 8 and 9 positions.
    assert decode.bytes_per_token == weights / 2 + 2048 * 8
    assert prefill.bytes_per_token == weights / 12
    assert decode.limit == pytest.approx(1e9 / decode.bytes_per_token)
    assert decode.per_second is not None
    assert decode.limit is not None
    assert decode.share == pytest.approx(decode.per_second / decode.limit)


def test_the_cache_that_is_counted_is_the_cache_that_is_there(model: Model) -> None:
    import torch

    ids = torch.tensor([model.encode_prompt("The capital of Japan is")])
    with torch.inference_mode():
        kept = model.network(ids, use_cache=True).past_key_values
    layers = getattr(kept, "layers", None)
    if layers is None:
        pytest.skip("this version of transformers keeps its cache otherwise")
    held = sum(each.nbytes for layer in layers for each in (layer.keys, layer.values))
    assert held == throughput.cache_bytes_of(model) * ids.shape[1]


def test_four_bit_weights_are_counted_as_stored_with_their_scales(model: Model) -> None:
    from probes.measure import quantization

    small = model.variant(quantization="nf4")
    assert throughput.weights_read(small) == quantization.memory(small).total_bytes


def test_an_embedding_that_is_no_head_is_not_read(model: Model) -> None:
    import torch

    embedding, head = torch.nn.Embedding(10, 4), torch.nn.Linear(4, 10, bias=False)
    network = SimpleNamespace(
        get_input_embeddings=lambda: embedding,
        get_output_embeddings=lambda: head,
        parameters=lambda: [embedding.weight, head.weight],
    )
    untied: Any = SimpleNamespace(network=network)
    assert throughput.weights_read(untied) == 10 * 4 * 4


def test_measuring_is_not_counted_as_the_cost_of_claims(model: Model, tiny: Sizes) -> None:
    before = model.cost
    throughput.generation(model, 1, tiny)
    assert model.cost == before
    model.generate("The", max_new_tokens=1)
    assert model.cost != before


@pytest.mark.parametrize("way", ["loop", "num_return_sequences"])
def test_continuations_are_counted_as_samples(model: Model, tiny: Sizes, way: str) -> None:
    rate = throughput.continuations(model, way, tiny)
    assert (rate.what, rate.unit, rate.batch, rate.reason) == (way, "samples", 2, "")
    assert rate.per_second is not None
    assert rate.per_second > 0
    assert rate.share == pytest.approx(rate.per_second / (rate.limit or 0))


def test_a_library_without_continuous_batching_is_a_reason(
    model: Model, tiny: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = SimpleNamespace()
    monkeypatch.setitem(throughput.WAYS, "continuous batching", without(network))
    rate = throughput.continuations(model, "continuous batching", tiny)
    assert rate.per_second is None
    assert "has no continuous batching of this kind" in rate.reason


def without(network: Any) -> Callable[..., Any]:
    """Continuous batching as on a network that knows nothing of it."""
    real = throughput.WAYS["continuous batching"]

    def way(model: Model, sizes: Sizes) -> Any:
        bare = SimpleNamespace(network=network, encode_prompt=model.encode_prompt)
        return real(bare, sizes)

    return way


def test_what_cannot_be_compiled_here_says_why(model: Model, tiny: Sizes) -> None:
    if model.device.type == "cuda":
        pytest.skip("it can be, here")
    for rate in throughput.generation(model, 1, tiny, cache="static", compiled=True):
        assert rate.reason == "transformers compiles on a CUDA device alone, and this is cpu"
        assert rate.per_second is rate.share is None
        assert rate.limit is not None
    for rate in throughput.generation(model, 1, tiny, compiled=True):
        assert rate.reason == "transformers compiles the forward pass with a static cache alone"


def test_a_batch_that_does_not_fit_is_a_reason(
    model: Model, tiny: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(*_: Any) -> Any:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(throughput, "_passage", full)
    for rate in throughput.generation(model, 128, tiny):
        assert rate.reason == "the device's memory does not hold a batch of 128"


def test_bad_input_gets_one_clear_line(model: Model, tiny: Sizes) -> None:
    with pytest.raises(UserError, match=r"too little to time: .*; new must be at least 2"):
        throughput.Sizes(prompt=1, new=1, samples=1, copied=1)
    with pytest.raises(UserError, match="no way 'lopp' of making continuations: choose among loop"):
        throughput.continuations(model, "lopp", tiny)
    with pytest.raises(UserError, match="a batch has at least 1 sequence, not 0"):
        throughput.bytes_per_token(1, 0, 1, 1)
    with pytest.raises(UserError, match="must be above 0, not 0"):
        throughput.limit(1.0, 0)
    with pytest.raises(UserError, match="must be above 0, not 0"):
        throughput.share(1.0, 0)


def test_a_run_of_rates_alone_says_how_many_and_shows_no_empty_table() -> None:
    alone = record(plan=header().model_copy(update={"claims": ()}), throughput=rates())
    assert summary(alone) == "throughput on embedded: 14 of 15 rates measured\n"
    said = markdown.summarize_run(alone)
    assert "| section |" not in said
    assert "| new tokens, batch 1, dynamic cache | 130 tokens/s | 117 – 143 | 14 % |  |" in said
    page = render(alone)
    assert 'id="throughput"' in page
    assert "transformers compiles on a CUDA device alone" in page
    assert 'id="throughput"' not in render(record())


def test_the_probe_knows_no_runner() -> None:
    assert "pytest" not in vars(sys.modules["probes.measure.throughput"])
