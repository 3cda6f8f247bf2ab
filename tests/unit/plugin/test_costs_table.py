from __future__ import annotations

from probes.plugin.forecast import embedded_costs
from probes.schema.claim import catalogue


def test_table_of_costs_is_about_claims_of_the_catalogue() -> None:
    costs = embedded_costs()
    assert len(costs.keys() & catalogue().keys()) > len(catalogue()) / 2
    assert all(cost.seconds >= 0 and cost.tokens >= 0 for cost in costs.values())
