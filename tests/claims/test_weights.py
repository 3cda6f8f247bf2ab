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


@pytest.mark.claim("nothing-new")
def test_weights_are_those_that_the_files_hold(
    model: Model, evidence: Evidence, pytestconfig: pytest.Config
) -> None:
    whole = pytestconfig.option.thorough_claims or model.checkpoint.weight_bytes <= TWIN_LIMIT
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
