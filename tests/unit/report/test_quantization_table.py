"""Quantizations of a model in a report: one table and one picture."""

from __future__ import annotations

import re
from typing import Any

import pytest

from probes.compare.records import compare
from probes.report.html.page import render_comparison
from probes.report.locale import LANGUAGES
from probes.report.pictures import draw
from probes.report.text.console import format_comparison
from probes.report.text.markdown import summarize_comparison
from probes.report.text.quantization import format_cells, format_origin, format_table
from probes.schema.evidence.quantization import QuantizationCosts
from probes.schema.record import Record
from tests.support.measured_runs import COSTS
from tests.support.samples import check, header, planned, record


@pytest.fixture
def costs() -> QuantizationCosts:
    return QuantizationCosts.model_validate(COSTS)


def test_row_has_intervals_and_says_where_numbers_are_too_few(costs: QuantizationCosts) -> None:
    kind, size, mean, *percentiles, rms, same, ratio, answers, stories = format_cells(
        costs.quantization_costs[0]
    )
    assert (kind, size) == ("nf4", "4.0 MB")
    assert mean == "0.05 (0.04 to 0.06)"
    assert percentiles == ["0.02 (0.01 to 0.03)", "too few", "too few", "too few"]
    assert (rms, same) == ("3 % (2 to 4)", "90 % (88 to 92)")
    assert (ratio, answers, stories) == ("1.05 (1.04 to 1.06)", "4 / 1 (p = 0.38)", "–")


def test_lower_bounds_are_marked_and_the_unknown_is_left_out(costs: QuantizationCosts) -> None:
    listed = costs.quantization_costs[0].model_copy(update={"whole": False})
    cells = format_cells(listed)
    assert cells[2].startswith("≥ 0.05")
    assert cells[7].startswith("≥ 3 %")
    unknown = {"rms_change": None, "perplexity_ratio": None, "bytes": 0}
    cells = format_cells(listed.model_copy(update=unknown))
    assert cells[1] == cells[7] == cells[9] == "–"


@pytest.mark.parametrize("language", LANGUAGES)
def test_table_has_as_many_cells_in_every_row(costs: QuantizationCosts, language: str) -> None:
    lines = format_table(costs.quantization_costs, language).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "Q4_1" in format_origin("float32", 10**6, "Q4_1", language)
    assert "Q4_1" not in format_origin("float32", 10**6, "", language)


def measured(*kinds: tuple[str, int]) -> Record:
    """A run that compared these quantizations, each of so many bytes."""
    one: dict[str, Any] = COSTS["quantization_costs"][0]
    checks = [
        (
            "quantization-cost",
            check(
                f"test_it[{kind}]",
                values=COSTS | {"quantization_costs": [one | {"kind": kind, "bytes": size}]},
            ),
        )
        for kind, size in kinds
    ]
    return record(checks, header(planned("quantization-cost", len(kinds))))


NF4, INT8 = ("nf4", 4_000_000), ("int8", 8_000_000)


def test_comparison_of_two_quantizations_has_the_table_of_both() -> None:
    found = compare(measured(NF4), measured(INT8))
    assert [cost.kind for cost in found.quantizations] == ["int8", "nf4"]
    assert [*found.quantizations] == [
        costs.quantization_costs[0]
        for each in measured(INT8, NF4).claims[0].evidence
        if (costs := QuantizationCosts.read(each.values))
    ]
    assert "nf4: size 4.0 MB; mean KLD 0.05 (0.04 to 0.06)" in format_comparison(found, width=80)
    assert "| nf4 | 4.0 MB | 0.05 (0.04 to 0.06) |" in summarize_comparison(found)
    page = render_comparison(found)
    assert "<td>nf4</td>" in page
    assert "大きさと品質" in page


def test_comparison_of_the_same_quantizations_has_no_table() -> None:
    assert compare(measured(NF4, INT8), measured(INT8, NF4)).quantizations == ()


def test_all_checks_share_one_picture_and_one_table() -> None:
    made = measured(NF4, INT8)
    chart, table = draw(made)["quantization-cost"]
    assert "int8: 8.0 MB" in str(chart.drawing)
    rows = re.findall(r"<tr>.*?</tr>", str(table.drawing))
    assert [re.findall(r"<td>(.*?)</td>", row)[:1] for row in rows] == [[], ["nf4"], ["int8"]]
    assert "as stored in Q4_1" in str(table.values["against"])


def test_checks_against_two_references_have_a_picture_and_a_table_each() -> None:
    values = [COSTS, COSTS | {"reference": "bfloat16"}]
    checks = [
        ("quantization-cost", check(f"test_it[{number}]", values=each))
        for number, each in enumerate(values)
    ]
    made = record(checks, header(planned("quantization-cost", 2)))
    drawn = draw(made)["quantization-cost"]
    assert [each.key for each in drawn] == ["quantization", "quantization-table"] * 2
    against = [str(each.values["against"]) for each in drawn]
    assert ["bfloat16" in each for each in against] == [False, False, True, True]
