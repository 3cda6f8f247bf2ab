"""Claims: a network computes with the weights and the configuration that its folder holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from probes import measure
from probes.targets.capabilities import TWIN_LIMIT

if TYPE_CHECKING:
    from probes import Model

Evidence = dict[str, Any]

QUANTIZED_LIMIT = 2**27
"""Bytes of weights up to which a model is quantized once more, which takes seconds above it."""


@pytest.fixture
def whole(model: Model, pytestconfig: pytest.Config) -> bool:
    """Whether all of a model is read or saved, and not a part of it."""
    is_small = model.checkpoint.weight_bytes <= TWIN_LIMIT
    return bool(is_small or pytestconfig.option.thorough_claims)


@pytest.mark.claim("model-reload")
def test_saved_model_is_the_same_when_loaded_again(
    model: Model, evidence: Evidence, whole: bool
) -> None:
    found = measure.model_reload.save_and_reload(model, whole=whole)
    evidence.update(asdict(found))
    wrong = found.describe()
    assert not wrong, wrong


@pytest.mark.claim("model-reload")
@pytest.mark.needs("variants", "quantized")
@pytest.mark.parametrize("when", ["at once", "after a pass"])
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_quantized_model_is_the_same_when_loaded_again(
    model: Model, evidence: Evidence, pytestconfig: pytest.Config, kind: str, when: str
) -> None:
    if measure.quantized_weights.own_quantization(model):
        pytest.skip("its own weights are quantized: they are saved as they are")
    is_slow = when == "after a pass" or model.checkpoint.weight_bytes > QUANTIZED_LIMIT
    if is_slow and not pytestconfig.option.thorough_claims:
        pytest.skip("decided under --thorough-claims")
    quantized = model.variant(quantization=kind)
    quantized.unload()  # one that has computed nothing
    used = when == "after a pass"
    try:
        found = measure.model_reload.save_and_reload(quantized, whole=True, used=used)
    finally:
        model.discard_variant(quantized)
    evidence.update(asdict(found))
    wrong = found.describe()
    assert not wrong, wrong


@pytest.mark.claim("nothing-new")
def test_weights_are_those_that_the_files_hold(
    model: Model, evidence: Evidence, whole: bool
) -> None:
    found = measure.stored_weights.compare_stored_weights(model, whole=whole)
    evidence.update(asdict(found))
    wrong = found.describe()
    assert not wrong, wrong


@pytest.mark.claim("rope-formula")
def test_rotary_positions_are_those_of_config_json(model: Model, evidence: Evidence) -> None:
    found = measure.rotary_positions.compare_rotary_positions(model)
    if not found:
        pytest.skip("its network has no rotary positions")
    evidence["rotary"] = found
    worst = max(found, key=lambda each: each.share)
    wrong = "" if worst.share <= 1 else worst.describe()
    assert not wrong, wrong


@pytest.mark.claim("resized")
def test_resizing_the_vocabulary_keeps_what_was_there(
    model: Model, evidence: Evidence, pytestconfig: pytest.Config
) -> None:
    thorough = bool(pytestconfig.option.thorough_claims)
    found = measure.resized_vocabulary.resize_vocabulary(model, thorough=thorough)
    evidence["resized"] = found
    refused = [each.refused for each in found]
    if all(refused):
        pytest.skip(f"the library does not resize it: {refused[0]}")
    for each in found:
        wrong = each.describe()
        assert not wrong, wrong
