"""The entropy along rising temperatures, where float64 shows its rise and where it does not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from probes.measure.sampling_filters import TemperatureEffect, measure_temperature_effect


@dataclass(frozen=True)
class Row:
    logits: list[float]
    shows: bool


@pytest.mark.parametrize(
    "row",
    [
        Row([0.0, -1.0, -2.0], True),
        Row([0.0, -100.0], True),  # at low temperatures the entropy underflows
        Row([0.0, 0.0, -100.0], True),  # it begins at log 2, which rounding cannot tell from more
        Row([0.0, 1e-9], False),  # it is log 2 at every temperature
    ],
    ids=["plain", "sharp", "tied", "flat"],
)
def test_entropy_rises_as_far_as_rounding_shows(row: Row) -> None:
    found = measure_temperature_effect(torch.tensor(row.logits, dtype=torch.float64))
    assert found.rises
    assert (found.distinct_rises > 0) == row.shows


def test_missing_rise_is_seen() -> None:
    sound = measure_temperature_effect(torch.tensor([0.0, -1.0, -2.0]))
    entropies = [*sound.entropies[:-1], sound.entropies[-2]]
    wrong = TemperatureEffect(**{**dict(sound), "entropies": entropies})
    assert not wrong.rises
