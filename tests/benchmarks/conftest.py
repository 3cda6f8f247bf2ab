"""Measure throughput only on request: it needs the machine for itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from probes.measure.throughput import Repeat

T = TypeVar("T")

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Collect these tests only if the folder or the marker is on the command line."""
    marked = re.search(r"\bthroughput\b", config.option.markexpr or "")
    places = [config.invocation_params.dir / arg.partition("::")[0] for arg in config.args]
    named = any(place.resolve().is_relative_to(HERE) for place in places)
    return None if marked or named else True


@pytest.fixture
def repeat(benchmark: BenchmarkFixture) -> Repeat:
    """Repeat by pytest-benchmark, so that its table shows the same runs."""
    if benchmark.disabled:
        pytest.skip(
            "pytest-benchmark is switched off, as under pytest-xdist: nothing is measured; "
            "leave out -n and --benchmark-disable"
        )

    def in_benchmark(run: Callable[[], T], repetitions: int, warmups: int) -> list[T]:
        returned: list[T] = []
        timed: Any = benchmark.pedantic  # published without types
        timed(lambda: returned.append(run()), rounds=repetitions, warmup_rounds=warmups)
        return returned[warmups:]

    return in_benchmark
