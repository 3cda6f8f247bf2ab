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
    forecast = Forecast(
        {"a": 2, "b": 1, "library": 1}, ExpectedCosts({}, costs(a=1, b=4, library=2))
    )
    assert forecast.seconds_left() is None
    forecast.add("a", 10 * MEASURED)
    assert forecast.seconds_of("b") == pytest.approx(10 * MEASURED / 0.5 * 4)
    assert forecast.seconds_of("library") == 2  # it computes no pass, on this device or another
    assert forecast.seconds_left() == pytest.approx(10 * MEASURED / 0.5 * 4.5 + 2)


def test_earlier_run_counts_until_more_is_measured() -> None:
    forecast = Forecast({"a": 1, "b": 1}, ExpectedCosts(costs(a=1, b=10), {}))
    assert forecast.seconds_left() == 11
    forecast.add("a", 2.0)
    assert forecast.seconds_left() == pytest.approx(10 * (2 + CONFIDENCE) / (1 + CONFIDENCE))


def test_loading_and_what_was_not_decided_say_nothing_of_the_device() -> None:
    forecast = Forecast({"a": 1, "b": 1, "c": 1}, ExpectedCosts({}, costs(a=5, b=1, c=1)))
    forecast.add("a", 0.1, decided=False)
    forecast.add("b", 60 + MEASURED, loading=60)
    assert forecast.seconds_left() == pytest.approx(MEASURED)
    assert forecast.spent == pytest.approx(60.1 + MEASURED)


def test_forecast_ends_with_the_last_check() -> None:
    forecast = Forecast({"a": 2}, ExpectedCosts(costs(a=4), {}))
    forecast.add("a", 1.0)
    forecast.drop("a")
    assert (forecast.checks_left, forecast.seconds_left()) == (0, 0)
