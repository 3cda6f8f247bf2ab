from __future__ import annotations

from probes.plugin.forecast import embedded_times
from probes.schema.claim import catalogue


def test_table_of_costs_is_about_claims_of_the_catalogue() -> None:
    times = embedded_times()
    assert len(times.keys() & catalogue().keys()) > len(catalogue()) / 2
    assert all(each.seconds >= 0 and each.alone >= 0 for each in times.values())
