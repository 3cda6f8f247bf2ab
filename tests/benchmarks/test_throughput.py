"""Measure and record throughput; never judge it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from probes.measure import continuations, throughput

if TYPE_CHECKING:
    from probes import Model
    from probes.measure.throughput import Repeat
    from probes.schema.record import Rate

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is in the extra dev")

pytestmark = [
    pytest.mark.throughput,
    pytest.mark.filterwarnings("default"),  # what a library warns of is not what is measured
    pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"),  # a test that is skipped
]

BATCHES = (1, 8, 32, 128)
CACHES = {"dynamic": ("dynamic", False), "static": ("static", False), "compiled": ("static", True)}
FIRST = {(1, "dynamic"), (32, "dynamic")}
"""Batches and caches of the first table: about a minute for a model of 7 B parameters on a GPU."""

METHODS = ("loop", "num_return_sequences", "continuous batching")

NOT_ASKED = "the first table leaves it out: --thorough-claims measures all, -k what it names"


def assert_measured(rate: Rate) -> None:
    """Skip with the reason if there is no rate; any rate passes."""
    if rate.per_second is None:
        pytest.skip(rate.reason)
    assert rate.reason == ""
    assert rate.low is not None
    assert rate.high is not None
    assert 0 < rate.low <= rate.per_second <= rate.high
    assert math.isfinite(rate.high)


def skip_unless_asked(config: pytest.Config) -> None:
    """Leave what is not in the first table to those who ask for it."""
    if not config.option.thorough_claims and not config.option.keyword:
        pytest.skip(NOT_ASKED)


def test_copy_is_measured(model: Model, repeat: Repeat, rates: list[Rate]) -> None:
    rates.append(throughput.measure_copy(model, throughput.choose_workload(model), repeat))
    assert_measured(rates[0])


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("batch", BATCHES)
def test_prefill_and_decode_are_measured(
    model: Model,
    repeat: Repeat,
    rates: list[Rate],
    pytestconfig: pytest.Config,
    batch: int,
    cache: str,
) -> None:
    if (batch, cache) not in FIRST:
        skip_unless_asked(pytestconfig)
    kind, compiled = CACHES[cache]
    workload = throughput.choose_workload(model)
    rates += throughput.measure_generation(
        model, batch, workload, cache=kind, compiled=compiled, repeat=repeat
    )
    assert [rate.what for rate in rates] == ["prefill", "decode"]
    for rate in rates:
        assert_measured(rate)


@pytest.mark.parametrize("method", METHODS)
def test_continuations_are_measured(
    model: Model, repeat: Repeat, rates: list[Rate], pytestconfig: pytest.Config, method: str
) -> None:
    skip_unless_asked(pytestconfig)
    workload = throughput.choose_workload(model)
    rates.append(continuations.measure_continuations(model, method, workload, repeat))
    assert_measured(rates[0])
