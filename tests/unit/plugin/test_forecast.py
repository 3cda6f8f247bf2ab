from __future__ import annotations

import pytest

from probes.plugin.forecast import CONFIDENCE, MEASURED, ClaimTime, ExpectedTimes, Forecast
from probes.schema.record import Cost


def costs(**seconds: float) -> dict[str, Cost]:
    """What claims cost in an earlier run."""
    return {name: Cost(seconds=each, tokens=100) for name, each in seconds.items()}


def shipped(**seconds: float) -> dict[str, ClaimTime]:
    """What claims take on the embedded model, alone twice as long; `library` makes no pass."""
    return {
        name: ClaimTime(each, 2 * each, share=float(name != "library"))
        for name, each in seconds.items()
    }


def test_claim_without_earlier_run_is_scaled_like_the_others() -> None:
    expected = ExpectedTimes(costs(a=10), shipped(a=1, b=3, library=2))
    assert [expected.of(name).seconds for name in ("a", "b", "library")] == [10, 30, 2]
    assert [expected.of(name).alone for name in ("a", "b", "library")] == [20, 60, 4]


def test_claim_of_an_author_counts_as_typical() -> None:
    assert ExpectedTimes({}, shipped(a=1, b=2, c=9)).of("own").seconds == 2
    assert ExpectedTimes(costs(a=30, b=20, c=1), shipped(a=1)).of("own").seconds == 20
    assert ExpectedTimes({}, {}).of("own").seconds == 0


def test_forecast_follows_this_device() -> None:
    times = ExpectedTimes({}, shipped(a=1, b=4, library=2))
    forecast = Forecast({"a": 2, "b": 1, "library": 1}, times)
    forecast.add("a", 9 * MEASURED)  # it did what the next one needs too
    assert forecast.seconds_of("b") is None
    forecast.add("a", MEASURED)
    assert forecast.seconds_of("b") == pytest.approx(10 * MEASURED * 4)
    assert forecast.seconds_of("library") == 2  # it computes no pass, on this device or another


def test_only_the_share_of_passes_follows_this_device() -> None:
    times = {"a": ClaimTime(1, 1, share=1), "draws": ClaimTime(10, 10, share=0.2)}
    forecast = Forecast({"a": 1, "draws": 1, "other": 1}, ExpectedTimes({}, times))
    forecast.add("a", 5.0)
    assert forecast.seconds_of("draws") == pytest.approx(8 + 2 * 5)
    forecast.add("draws", 8 + 2 * 11.0)
    assert forecast.seconds_of("other") == pytest.approx((5 + 22) / 3 * 5.5)


def test_budget_counts_what_claims_take_alone() -> None:
    forecast = Forecast({"a": 2}, ExpectedTimes(costs(a=3), shipped(a=1)), alone=True)
    assert forecast.seconds_of("a") == 6


@pytest.mark.parametrize(("workers", "seconds"), [(1, 8), (2, 4), (9, 2)])
def test_workers_share_the_checks_of_a_claim(workers: int, seconds: float) -> None:
    forecast = Forecast({"a": 4}, ExpectedTimes(costs(a=8), {}), workers=workers)
    assert forecast.seconds_of("a") == seconds


def test_earlier_run_counts_until_more_is_measured() -> None:
    forecast = Forecast({"a": 1, "b": 1}, ExpectedTimes(costs(a=1, b=10), {}))
    assert forecast.seconds_of("b") == 10
    forecast.add("a", 2.0)
    assert forecast.seconds_of("b") == pytest.approx(10 * (2 + CONFIDENCE) / (1 + CONFIDENCE))
    assert not forecast.is_measured


def test_loading_and_what_was_not_decided_say_nothing_of_the_device() -> None:
    forecast = Forecast({"a": 1, "b": 1, "c": 1}, ExpectedTimes({}, shipped(a=5, b=1, c=1)))
    forecast.add("a", 0.1, decided=False)
    forecast.add("b", 60 + MEASURED, loading=60)
    assert forecast.seconds_of("c") == pytest.approx(MEASURED)
    assert forecast.spent == pytest.approx(60.1 + MEASURED)
    assert forecast.is_measured
