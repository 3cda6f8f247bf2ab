"""The smallest faults that `output_bound` names are seen, on random weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import probes
from probes.engines.transformers import variants
from probes.measure.quantization import LayerError, measure_layer_errors
from probes.measure.quantized_layers import MANY, ROUNDINGS, compare_layers
from probes.measure.quantized_weights import (
    is_quantized,
    kernel_dtype,
    own_quantization,
    stored_weight,
)
from probes.targets.preflight import preflight
from probes.targets.resolve import resolve
from tests.support import model_folders as folders

KINDS = ("nf4", "nf4-double", "fp4", "int8")
PROMPT = "The capital of Japan is"


@pytest.fixture(scope="module", params=[folders.llama, folders.gpt2])
def random_model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> probes.Model:
    make: Callable[[Path], Path] = request.param
    folder = make(tmp_path_factory.mktemp("targets") / make.__name__)
    return probes.Model(preflight(resolve(str(folder))))


def first_layer(model: Any) -> Any:
    return next(each for each in model.network.modules() if is_quantized(each))


def largest_share(model: Any) -> float:
    return max(layer.share for layer in compare_layers(model, PROMPT))


@pytest.mark.parametrize("kind", KINDS)
def test_sound_layers_agree_and_the_smallest_fault_is_seen(
    random_model: probes.Model, kind: str
) -> None:
    model = random_model.variant(quantization=kind)
    sound = largest_share(model)
    assert 0 < sound <= 1, f"sound layers are off by {sound:.3g} times the bound"
    layer = first_layer(model)
    unit = torch.finfo(kernel_dtype(layer)).eps / 2

    def scale_one_row(_: Any, __: Any, outputs: torch.Tensor) -> torch.Tensor:
        factors = torch.ones(outputs.shape[-1]).to(outputs)
        factors[0] = 1 + 4 * ROUNDINGS * unit
        return outputs * factors

    with layer.register_forward_hook(scale_one_row):
        assert largest_share(model) > 1, "a row whose scale is off is not seen"


def test_one_wrong_weight_is_seen(random_model: probes.Model) -> None:
    model = random_model.variant(quantization="nf4")
    layer = first_layer(model)
    compare_layers(model, PROMPT)  # the kernel has its weights as it wants them
    unit, weight = torch.finfo(kernel_dtype(layer)).eps / 2, stored_weight(layer)
    off = 1.5 * 16 * ROUNDINGS * unit * weight.abs().mean()

    def change_one_weight(_: Any, inputs: Any, outputs: torch.Tensor) -> torch.Tensor:
        outputs = outputs.clone()
        outputs[..., 0] += off * inputs[0][..., 0]
        return outputs

    with layer.register_forward_hook(change_one_weight):
        assert largest_share(model) > 1, "one wrong weight is not seen"


def test_fault_at_1536_rows_of_a_layer_between_is_seen() -> None:
    model = probes.load("embedded").variant(quantization="nf4")

    def scale_last_row(_: Any, __: Any, outputs: torch.Tensor) -> None:
        if outputs.shape[:-1].numel() == max(MANY):
            outputs[-1] *= 1.05

    layer = model.network.get_submodule("model.layers.1.mlp.down_proj")
    with layer.register_forward_hook(scale_last_row):
        worst = max(compare_layers(model, PROMPT), key=lambda found: found.share)
    assert worst.share > 1
    assert (worst.name, worst.worst_input) == ("model.layers.1.mlp.down_proj", "1,536 rows")


def new_variant(model: Any, kind: str) -> Any:
    """A variant that no pass has changed yet."""
    model.discard_variant(model.variant(quantization=kind))
    return model.variant(quantization=kind)


def largest_error(model: Any, original: Any) -> LayerError:
    return max(measure_layer_errors(model, original), key=lambda error: error.share)


@torch.inference_mode()
def test_every_weight_at_a_level_next_to_the_nearest_is_seen(random_model: probes.Model) -> None:
    model = random_model.variant(quantization="nf4")
    assert largest_error(model, random_model).share <= 1
    data = first_layer(model).weight.data.view(torch.uint8).view(-1)
    for place in range(0, len(data), len(data) // 16):
        for code in (0x01, 0x10):  # codes 2n and 2n + 1, of neighbouring levels
            data[place] ^= code
            found = largest_error(model, random_model)
            data[place] ^= code
            assert found.share > 1
            assert "is nearer to another level" in found.describe()


@torch.inference_mode()
@pytest.mark.parametrize("factor", [1.00001, torch.nan])
def test_wrong_scale_is_seen(random_model: probes.Model, factor: float) -> None:
    model = new_variant(random_model, "nf4")
    first_layer(model).weight.quant_state.absmax[0] *= factor
    found = largest_error(model, random_model)
    assert found.share > 1
    assert found.describe().startswith(f"a scale of {found.name} is off by")
    random_model.discard_variant(model)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_stored_scale_that_is_not_finite_is_seen(random_model: probes.Model, kind: str) -> None:
    model = random_model.variant(quantization=kind)
    layer = first_layer(model)
    compare_layers(model, PROMPT)  # int8 weights move at the first pass
    if kind == "int8":
        layer.state.SCB[0] = torch.nan
    else:
        state = layer.weight.quant_state
        (state.state2.absmax if state.nested else state.absmax).view(-1)[0] = torch.inf
    assert largest_share(model) == torch.inf
    random_model.discard_variant(model)


@pytest.mark.parametrize("kind", KINDS)
def test_folder_of_stored_quantized_weights_is_decided(
    random_model: probes.Model, tmp_path: Path, kind: str
) -> None:
    target = variants.change_settings(random_model.target, kind)
    folder = tmp_path / "stored"
    probes.Model(preflight(target)).network.save_pretrained(folder)
    for file in random_model.checkpoint.folder.glob("tokenizer*"):
        shutil.copy(file, folder)
    stored = probes.Model(preflight(resolve(str(folder))))
    assert own_quantization(stored) == kind
    assert stored.explain_missing("quantized") is None
    assert 0 < largest_share(stored) <= 1
