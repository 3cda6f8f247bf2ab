"""What a controller and its pytest-xdist workers exchange when a worker starts and ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from probes.schema.record import Cost

Costs = Mapping[str, Mapping[str, Cost]]

_LEFT_OUT = "probes_left_out"
_DEVICE = "probes_device"
_REFUSAL = "probes_refusal"
_COSTS = "probes_costs"


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is a worker."""
    return hasattr(config, "workerinput")


def workers_to_start(config: pytest.Config) -> int:
    """Return how many workers this process starts; 0 where it runs the tests itself."""
    return 0 if is_worker(config) else getattr(config.option, "numprocesses", None) or 0


def running_workers(config: pytest.Config) -> int:
    """Return how many processes run tests."""
    return int(_input(config).get("workercount", 1))


def send_input(node: Any, left_out: Mapping[str, str], device: str | None, costs: Costs) -> None:
    """Send a worker the targets that are left out, with reasons, its CUDA device, and costs.

    The costs are those of claims in earlier runs: all workers must sort tests in the same way.
    """
    plain = {
        target: {claim: cost.model_dump() for claim, cost in claims.items()}
        for target, claims in costs.items()
    }
    node.workerinput |= {_LEFT_OUT: dict(left_out), _DEVICE: device, _COSTS: plain}


def earlier_costs(config: pytest.Config) -> Costs:
    """Return what claims took in earlier runs, by target, as the controller read it."""
    return {
        target: {claim: Cost.model_validate(cost) for claim, cost in claims.items()}
        for target, claims in _input(config).get(_COSTS, {}).items()
    }


def left_out_targets(config: pytest.Config) -> dict[str, str]:
    """Return the targets that the controller left out, with reasons."""
    return dict(_input(config).get(_LEFT_OUT, {}))


def assigned_device(config: pytest.Config) -> str | None:
    """Return the CUDA device that the controller assigned; None for no particular one."""
    device: str | None = _input(config).get(_DEVICE)
    return device


def send_refusal(config: pytest.Config, reason: str) -> None:
    """Leave the reason why this worker runs nothing for the controller to show."""
    config.workeroutput[_REFUSAL] = reason  # type: ignore[attr-defined]


def refusal_of(node_or_config: Any) -> str | None:
    """Return the reason why a worker runs nothing, if it gave one."""
    reason: str | None = getattr(node_or_config, "workeroutput", {}).get(_REFUSAL)
    return reason


def _input(config: pytest.Config) -> dict[str, Any]:
    return getattr(config, "workerinput", {})
