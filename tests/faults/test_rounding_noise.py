"""The tolerance of greedy text on random weights: no false alarm, and the smallest faults seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import probes
from probes.data.tokenizer_texts import PROMPTS
from probes.engines.transformers.layer_outputs import list_decoder_layers
from probes.measure import determinism, greedy, reference_prompts, rounding_noise, row_counts
from probes.targets.preflight import preflight
from probes.targets.resolve import resolve
from tests.support import model_folders as folders

LENGTH = 20

SHORT = 4
"""Tokens of texts whose differing layer is named."""


@pytest.fixture(params=[folders.llama, folders.gpt2, folders.mixtral])
def random_model(request: pytest.FixtureRequest, tmp_path: Path) -> probes.Model:
    make: Callable[[Path], Path] = request.param
    return probes.Model(preflight(resolve(str(make(tmp_path / make.__name__)))))


@contextmanager
def scaled_layer(
    model: Any, factor: float, where: Callable[[Any], bool], number: int = 0
) -> Iterator[None]:
    """Scale the output of one layer's MLP where its input asks for it."""
    layer = [*list_decoder_layers(model.network).values()][number]

    def scale(_: Any, inputs: Any, output: Any) -> Any:
        return output * factor if where(inputs[0]) else output

    with layer.mlp.register_forward_hook(scale):
        yield


def test_logits_along_texts_are_those_of_each_alone(random_model: probes.Model) -> None:
    texts = greedy.generate_greedy(random_model, PROMPTS, 3)
    for text, found in zip(texts, rounding_noise.logits_along(random_model, texts), strict=True):
        alone = random_model.logits([*text.prompt_ids, *text.ids[0][:-1]])[-len(text.ids[0]) :]
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


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
    (first, *_) = list_decoder_layers(random_model.network)
    assert found.layer == f"first in {first}"
    assert found.conditions == (
        f"attention sdpa, float32, cpu, padded on the left, dynamic cache, first in {first}"
    )
    assert "run(ids[:1, -len(rows[0]) :], mask[:1, -len(rows[0]) :])" in found.calls


@pytest.mark.parametrize(
    ("variation", "rows", "number"), [("alone", 1, 1), ("doubled", 2 * len(PROMPTS) + 1, 0)]
)
def test_difference_names_the_layer(
    random_model: probes.Model, variation: str, rows: int, number: int
) -> None:
    def is_varied(hidden: torch.Tensor) -> bool:
        return hidden.dim() == 3 and len(hidden) == rows

    with scaled_layer(random_model, 0.5, is_varied, number):
        (found,) = determinism.VARIATIONS[variation](random_model, PROMPTS, SHORT)
    name = [*list_decoder_layers(random_model.network)][number]
    assert found.layer == f"first in {name}"
    assert found.conditions.endswith(found.layer)


def test_difference_of_row_counts_names_the_layer(random_model: probes.Model) -> None:
    with scaled_layer(random_model, 0.5, lambda hidden: len(hidden) == 5, number=1):
        found = row_counts.compare_row_counts(random_model, token=5, counts=(4, 5))
    name = [*list_decoder_layers(random_model.network)][1]
    assert [each.layer for each in found] == ["", f"first in {name}"]


def test_difference_from_a_pass_of_its_own_names_the_layer(random_model: probes.Model) -> None:
    def is_generated(hidden: torch.Tensor) -> bool:
        return hidden.dim() == 3 and len(hidden) == len(PROMPTS)

    with scaled_layer(random_model, 0.5, is_generated, number=1):
        found = determinism.find_layer_of_own_pass(random_model, PROMPTS, SHORT)
    assert found == f"first in {[*list_decoder_layers(random_model.network)][1]}"


def test_difference_between_batches_names_the_layer(tmp_path: Path) -> None:
    model = probes.Model(preflight(resolve(str(folders.llama(tmp_path / "llama")))))
    words = [*PROMPTS, *PROMPTS, "a much longer prompt, that pads the others of its batch"]
    sound = reference_prompts.find_layer(model, words)
    with scaled_layer(model, 0.5, lambda hidden: len(hidden) == 1, number=1):
        found = reference_prompts.find_layer(model, words)
    assert (sound, found) == ("no decoder layer differs", "first in model.layers.1")


def test_difference_in_a_mask_names_the_layer(tmp_path: Path) -> None:
    model = probes.Model(preflight(resolve(str(folders.llama(tmp_path / "llama")))))
    (_, layer), *_ = reversed(list_decoder_layers(model.network).items())

    def forget_mask(_: Any, args: Any, kwargs: Any) -> Any:
        if len(kwargs.get("hidden_states", args[0] if args else None)) == 2 * len(PROMPTS) + 1:
            kwargs |= {"attention_mask": None}
        return args, kwargs

    with layer.self_attn.register_forward_pre_hook(forget_mask, with_kwargs=True):
        (found,) = determinism.vary_to_larger_batch(model, PROMPTS, SHORT)
    assert found.layer == "first in model.layers.1"


def test_difference_after_the_layers_names_none(tmp_path: Path) -> None:
    model = probes.Model(preflight(resolve(str(folders.llama(tmp_path / "llama")))))

    def scale(_: Any, __: Any, output: Any) -> Any:
        return 1.01 * output if len(output) == 1 else output

    with model.network.lm_head.register_forward_hook(scale):
        (found,) = determinism.vary_to_batches_of_one(model, PROMPTS, SHORT)
    assert found.layer == "no decoder layer differs"


@pytest.mark.parametrize("make", [folders.llama, folders.gpt2])
def test_layer_lost_in_bfloat16_alone_is_seen(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """Of a mixture of experts with random weights bfloat16 changes the routing: nothing is seen."""
    half = probes.Model(preflight(resolve(str(make(tmp_path / make.__name__)))))
    half = half.variant(dtype="bfloat16")
    with scaled_layer(half, 0.0, lambda rows: rows.dtype is torch.bfloat16):
        found = determinism.compare_precision(half, PROMPTS, LENGTH)
    assert not found.explained
    assert "model = model.float()" in found.calls
    assert found.layer == f"first in {next(iter(list_decoder_layers(half.network)))}"


def test_precision_takes_one_pass_beside_the_moved_ones(random_model: probes.Model) -> None:
    half = random_model.variant(dtype="bfloat16")
    greedy.generate_greedy(half, PROMPTS, LENGTH)
    before = half.cost.forward_passes
    determinism.compare_precision(half, PROMPTS, LENGTH)
    assert half.cost.forward_passes - before == 1 + rounding_noise.RUNS
