"""How fast a target is: measured and recorded, never judged.

pytest tests/benchmarks --report-dir throughput
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from probes.measure import throughput

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
WAYS = ("loop", "num_return_sequences", "continuous batching")


def assert_measured(rate: Rate) -> None:
    """Something was measured, or a reason says why not. How fast it was is nobody's fault."""
    if rate.per_second is None:
        pytest.skip(rate.reason)
    assert rate.reason == ""
    assert rate.low is not None
    assert rate.high is not None
    assert 0 < rate.low <= rate.per_second <= rate.high
    assert math.isfinite(rate.high)


def test_memory_is_copied(model: Model, repeat: Repeat, rates: list[Rate]) -> None:
    rates.append(throughput.measure_copy(model, throughput.choose_workload(model), repeat))
    assert_measured(rates[0])


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("batch", BATCHES)
def test_a_prompt_is_read_and_continued(
    model: Model, repeat: Repeat, rates: list[Rate], batch: int, cache: str
) -> None:
    kind, compiled = CACHES[cache]
    sizes = throughput.choose_workload(model)
    rates += throughput.measure_generation(
        model, batch, sizes, cache=kind, compiled=compiled, repeat=repeat
    )
    assert [rate.what for rate in rates] == ["prefill", "decode"]
    for rate in rates:
        assert_measured(rate)


@pytest.mark.parametrize("way", WAYS)
def test_one_prompt_is_continued_many_times(
    model: Model, repeat: Repeat, rates: list[Rate], way: str
) -> None:
    sizes = throughput.choose_workload(model)
    rates.append(throughput.measure_continuations(model, way, sizes, repeat))
    assert_measured(rates[0])
