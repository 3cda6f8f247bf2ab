"""The tolerance of greedy text on random weights: no false alarm, and the smallest faults seen."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch

import probes
from probes.data.tokenizer_texts import PROMPTS
from probes.measure import determinism, greedy, rounding_noise
from probes.targets.preflight import preflight
from probes.targets.resolve import resolve
from tests.support import model_folders as folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LENGTH = 20


@pytest.fixture(params=[folders.llama, folders.gpt2, folders.mixtral])
def random_model(request: pytest.FixtureRequest, tmp_path: Path) -> probes.Model:
    make: Callable[[Path], Path] = request.param
    return probes.Model(preflight(resolve(str(make(tmp_path / make.__name__)))))


@contextmanager
def scaled_layer(model: Any, factor: float, where: Callable[[Any], bool]) -> Iterator[None]:
    """Scale the output of the first layer's MLP where its input asks for it."""
    decoder = model.network.get_decoder()
    layer = (decoder.layers if hasattr(decoder, "layers") else decoder.h)[0]

    def scale(_: Any, inputs: Any, output: Any) -> Any:
        return output * factor if where(inputs[0]) else output

    with layer.mlp.register_forward_hook(scale):
        yield


@pytest.mark.parametrize("variation", ["alone", "doubled", "attention", "half_precision"])
def test_sound_variations_are_explained(random_model: probes.Model, variation: str) -> None:
    for found in determinism.VARIATIONS[variation](random_model, PROMPTS, LENGTH):
        assert 0 < found.noise <= found.tolerance / 2, found.name
        assert found.explained, found.name
        assert not found.calls, found.name


def test_layer_scaled_by_a_thousandth_in_float32_is_seen(random_model: probes.Model) -> None:
    with scaled_layer(random_model, 1.001, lambda rows: len(rows) == 1):
        (found,) = determinism.vary_to_batches_of_one(random_model, PROMPTS, LENGTH)
    assert not found.explained
    assert found.conditions == "attention sdpa, float32, cpu, padded on the left, dynamic cache"
    assert "run(ids[:1, -len(rows[0]) :], mask[:1, -len(rows[0]) :])" in found.calls


@pytest.mark.parametrize("make", [folders.llama, folders.gpt2])
def test_layer_lost_in_bfloat16_alone_is_seen(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """Of a mixture of experts with random weights bfloat16 changes the routing: nothing is seen."""
    half = probes.Model(preflight(resolve(str(make(tmp_path / make.__name__)))))
    half = half.variant(dtype="bfloat16")
    with scaled_layer(half, 0.0, lambda rows: rows.dtype is torch.bfloat16):
        found = determinism.compare_precision(half, PROMPTS, LENGTH)
    assert not found.explained
    assert "model = model.float()" in found.calls


def test_precision_takes_one_pass_beside_the_moved_ones(random_model: probes.Model) -> None:
    half = random_model.variant(dtype="bfloat16")
    greedy.generate_greedy(half, PROMPTS, LENGTH)
    before = half.cost.forward_passes
    determinism.compare_precision(half, PROMPTS, LENGTH)
    assert half.cost.forward_passes - before == 1 + rounding_noise.RUNS
