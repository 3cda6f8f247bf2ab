"""Compare real runs: what an upgrade may change is distinguished from what it may not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from probes.compare.records import compare
from probes.results import reading
from probes.schema.comparison import Comparison, Outcome
from tests.faults.comparisons import CLAIMS, VARIATIONS, write_records
from tests.faults.page import COMPARED, page
from tests.support.warm_process import call_apart


@pytest.fixture(scope="module")
def against_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Comparison]:
    """A run changed in one way, against one that was not."""
    folder = tmp_path_factory.mktemp("runs")
    call_apart(write_records, folder)

    @cache
    def found(name: str) -> Comparison:
        old, new = (reading.read(folder / each / "embedded") for each in ("base", name))
        return compare(old, new)

    return found


def outcomes(comparison: Comparison) -> dict[str, str]:
    return {claim.id: claim.outcome.value for claim in comparison.claims}


def test_page_lists_every_comparison() -> None:
    assert {"base", *COMPARED} == {*VARIATIONS}
    assert ", ".join(f"`{claim}`" for claim in CLAIMS) in page()


@pytest.mark.parametrize("name", ["again", "other-threads"])
def test_unchanged_runs_are_the_same(name: str, against_base: Callable[[str], Comparison]) -> None:
    found = against_base(name)
    assert found.outcomes == {Outcome.SAME}, outcomes(found)
    assert found.drift is not None
    assert found.drift.prompts >= 50


def test_comparison_names_another_thread_count(against_base: Callable[[str], Comparison]) -> None:
    assert [change.name for change in against_base("other-threads").environment] == ["threads"]


def test_bfloat16_is_a_drift(against_base: Callable[[str], Comparison]) -> None:
    found = against_base("bfloat16")
    drift = found.drift
    assert drift is not None
    assert drift.outcome is Outcome.DRIFTED
    assert drift.kl is not None
    assert 0 < drift.kl.low < drift.kl.value < 0.1
    assert drift.same_top is not None
    assert drift.same_top.value < 1
    assert {"dtype", "weight bytes"} <= {change.name for change in found.environment}
    assert Outcome.NEWLY_FAILING not in found.counts


def test_noise_of_half_a_percent_is_found(against_base: Callable[[str], Comparison]) -> None:
    found = against_base("noisy-weights")
    drift = found.drift
    assert drift is not None
    assert drift.outcome is Outcome.DRIFTED
    assert drift.largest_change > 10 * drift.explained
    assert outcomes(found)["recorded-texts"] == "newly failing"


def test_filter_order_fails_alone(against_base: Callable[[str], Comparison]) -> None:
    found = against_base("top-p-before-top-k")
    assert outcomes(found) == {
        "next-token": "same",
        "filter-order": "newly failing",
        "greedy-argmax": "same",
        "greedy-deterministic": "same",
        "recorded-texts": "same",
    }
    assert found.drift is not None
    assert found.drift.outcome is Outcome.SAME
