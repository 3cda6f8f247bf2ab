from __future__ import annotations

import pytest

from probes.plugin.forecast import CONFIDENCE, MEASURED, ExpectedCosts, Forecast
from probes.schema.record import Cost


def costs(**seconds: float) -> dict[str, Cost]:
    """What claims took, those that compute passes: all but `library`."""
    return {
        name: Cost(seconds=each, tokens=0 if name == "library" else 100)
        for name, each in seconds.items()
    }


def test_claim_without_earlier_run_is_scaled_like_the_others() -> None:
    expected = ExpectedCosts(costs(a=10), costs(a=1, b=3, library=2))
    assert [expected.of(name).seconds for name in ("a", "b", "library")] == [10, 30, 2]


def test_forecast_follows_this_device() -> None:
    shipped = ExpectedCosts({}, costs(a=1, b=4, library=2))
    forecast = Forecast({"a": 2, "b": 1, "library": 1}, shipped)
    assert forecast.seconds_of("b") is None
    forecast.add("a", 10 * MEASURED)
    assert forecast.seconds_of("b") == pytest.approx(10 * MEASURED / 0.5 * 4)
    assert forecast.seconds_of("a") == pytest.approx(10 * MEASURED)
    assert forecast.seconds_of("library") == 2  # it computes no pass, on this device or another


def test_earlier_run_counts_until_more_is_measured() -> None:
    forecast = Forecast({"a": 1, "b": 1}, ExpectedCosts(costs(a=1, b=10), {}))
    assert forecast.seconds_of("b") == 10
    forecast.add("a", 2.0)
    assert forecast.seconds_of("b") == pytest.approx(10 * (2 + CONFIDENCE) / (1 + CONFIDENCE))
    assert not forecast.is_measured


def test_loading_and_what_was_not_decided_say_nothing_of_the_device() -> None:
    forecast = Forecast({"a": 1, "b": 1, "c": 1}, ExpectedCosts({}, costs(a=5, b=1, c=1)))
    forecast.add("a", 0.1, decided=False)
    forecast.add("b", 60 + MEASURED, loading=60)
    assert forecast.seconds_of("c") == pytest.approx(MEASURED)
    assert forecast.spent == pytest.approx(60.1 + MEASURED)
    assert forecast.is_measured
