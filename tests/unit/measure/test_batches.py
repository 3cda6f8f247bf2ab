"""Padded rows, continuous batching and half precision where something is missing."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import torch

import probes
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN
from probes.engines.transformers.precision import in_float32
from probes.errors import BrokenModelError, UndecidableError
from probes.measure import (
    continuous_batching,
    half_precision,
    packed_rows,
    padded_rows,
    rounding_noise,
)
from probes.measure.settings import own_settings
from tests.support import model_folders as folders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from probes import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return probes.load("embedded")


@pytest.fixture
def without_variants(model: Model) -> Iterator[None]:
    """Copies in half precision that are loaded in the test are not kept."""
    before = dict(model._variants)
    model._variants.clear()
    yield
    for each in model._variants.values():
        each.unload()
    model._variants.clear()
    model._variants.update(before)


def test_tokenizer_without_padding_token_gets_none_to_keep(model: Model) -> None:
    assert model.tokenizer.pad_token is None
    padded_rows.vary_padding(model, [CAPITAL_OF_JAPAN, "Once"], "by the tokenizer")
    assert model.tokenizer.pad_token is None


@pytest.mark.parametrize(
    ("passes", "raised", "error"),
    [
        (1, NotImplementedError, UndecidableError),
        (1, RuntimeError, BrokenModelError),
        (3, NotImplementedError, BrokenModelError),
    ],
)
def test_continuous_batching_that_stops_is_refused_or_fails(
    passes: int, raised: type[Exception], error: type[Exception]
) -> None:
    model = probes.load("embedded")  # its own: the library keeps what stopped
    left = iter(range(passes - 1))

    def stop(_: Any, __: Any) -> None:
        if next(left, None) is None:
            raise raised("no memory is left")

    original = continuous_batching._generate

    def generate(*args: Any) -> Any:
        handle = model.network.model.register_forward_pre_hook(stop)
        try:
            return original(*args)
        finally:
            handle.remove()

    with (
        mock.patch.object(continuous_batching, "_generate", generate),
        pytest.raises(error, match="no memory is left"),
    ):
        continuous_batching.batch_continuously(model, [CAPITAL_OF_JAPAN], 4)


def test_texts_by_continuous_batching_are_matched_by_prompt(model: Model) -> None:
    """Up to transformers 5.0 they come in the order in which they end."""

    original = model.network.generate_batch

    @functools.wraps(original)
    def reverse(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return dict(reversed(original(*args, **kwargs).items()))

    with mock.patch.object(model.network, "generate_batch", reverse):
        texts, _ = continuous_batching.batch_continuously(model, [CAPITAL_OF_JAPAN, "Once"], 4)
    assert all(text.explained for text in texts)


def test_network_without_masks_is_not_compared_with_padding(tmp_path: Path) -> None:
    from transformers import RwkvConfig

    size, end = folders.byte_level_tokenizer(tmp_path / "rwkv")
    config = RwkvConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=2, eos_token_id=end, bos_token_id=end
    )
    folders.save(tmp_path / "rwkv", config)
    model = probes.load(str(tmp_path / "rwkv"))
    with pytest.raises(UndecidableError, match="does not use attention masks"):
        padded_rows.vary_padding(model, ["Once", "One two"], "alone")


def test_own_settings_do_not_change_rows_that_are_compared(model: Model) -> None:
    likely = model.logits(model.encode(CAPITAL_OF_JAPAN))[-1].argmax()
    own = {"suppress_tokens": [int(likely)], "num_beams": 2, "eos_token_id": model.eos_token_ids}
    with own_settings(model.network, **own):
        texts, changed = continuous_batching.batch_continuously(model, [CAPITAL_OF_JAPAN], 4)
        padded = padded_rows.vary_padding(model, [CAPITAL_OF_JAPAN, "Once"], "together")
    assert all(text.explained for text in texts)
    assert not changed
    assert all(each.explained for each in padded)


@pytest.mark.usefixtures("without_variants")
def test_continuous_batching_changes_no_settings_for_later(model: Model) -> None:
    kept = model.network.generation_config.to_dict()

    def change_settings(*_: Any) -> Any:
        model.network.generation_config.top_p = 0.5
        raise UndecidableError("it cannot begin")

    with (
        mock.patch.object(continuous_batching, "_generate", change_settings),
        pytest.raises(UndecidableError),
    ):
        continuous_batching.batch_continuously(model, [CAPITAL_OF_JAPAN], 4)
    assert model.network.generation_config.to_dict() == kept


def test_packed_texts_see_each_other_without_positions_for_the_mask(model: Model) -> None:
    modeling: Any = import_module("transformers.models.mistral.modeling_mistral")
    original = modeling.create_sliding_window_causal_mask

    def drop_positions(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs | {"position_ids": None})

    rows = [model.encode(text) for text in ("Once upon a time", CAPITAL_OF_JAPAN)]
    with mock.patch.object(modeling, "create_sliding_window_causal_mask", drop_positions):
        found = packed_rows.pack_rows(model, rows)
    assert [each.name for each in found if not each.explained] == [
        "positions, attention eager",
        "positions, attention sdpa",
    ]


def test_layer_that_leaves_the_range_of_float16_is_named_and_not_judged(model: Model) -> None:
    half = model.variant(dtype="float16")
    with torch.no_grad():
        half.network.model.layers[1].mlp.down_proj.weight.mul_(3000)
    found = half_precision.compare_layers(model, [model.encode(CAPITAL_OF_JAPAN)], "float16")
    assert found.overflow is not None
    assert found.overflow.name == "model.layers.1"
    assert found.overflow.reached > torch.finfo(torch.float16).max
    assert found.unexplained is None


def test_large_network_in_its_own_dtype_is_compared_layer_by_layer(model: Model) -> None:
    half, rows = model.variant(dtype="bfloat16"), [model.encode(CAPITAL_OF_JAPAN)]
    with mock.patch.object(half_precision, "TWIN_LIMIT", 0):
        found = half_precision.compare_layers(half, rows, "bfloat16")
        with pytest.raises(UndecidableError, match="too large for a copy in float16"):
            half_precision.compare_layers(half, rows, "float16")
    assert found.whole is None
    assert found.layers == half_precision.compare_layers(model, rows, "bfloat16").layers


@pytest.mark.usefixtures("without_variants")
def test_copy_in_float16_is_discarded_after_an_error(model: Model) -> None:
    with pytest.raises(UndecidableError, match="context"):
        half_precision.compare_layers(model, [[1] * 10**5], "float16")
    assert not model._variants


def test_float32_is_undone_where_a_weight_has_no_room() -> None:
    class Immovable:
        """A weight that cannot be converted."""

        dtype = torch.float16

        @property
        def data(self) -> Any:
            return self

        @data.setter
        def data(self, value: Any) -> None:
            pass

        def float(self) -> Any:
            raise MemoryError("no room")

    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
    network = mock.Mock(parameters=lambda: [weight, Immovable()], buffers=list)
    with pytest.raises(MemoryError), in_float32(network):
        pass
    assert weight.dtype is torch.float16


@pytest.mark.usefixtures("without_variants")
def test_noise_in_float16_is_finite_where_masked_scores_are_not(model: Model) -> None:
    half = model.variant(dtype="float16")
    noise = rounding_noise.measure_noise(half, [CAPITAL_OF_JAPAN], 20)
    assert 0 < noise.largest < 1


def test_positions_counted_in_floating_point_are_not_moved() -> None:
    counted = torch.tensor([[1.0, 2.0, 3.0]])
    with rounding_noise.move_results(torch.nn.Identity(), None)():
        positions = counted * torch.ones(1, 3) - 1
        moved = counted * 0.3
    assert positions.tolist() == [[0.0, 1.0, 2.0]]
    assert not torch.equal(moved, counted * 0.3)
