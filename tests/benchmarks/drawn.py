"""Keeps the tests that draw, in an order that the seed decides: `pytest -p tests.benchmarks.drawn`.

Every test that draws takes the fixture `seed`; the others come out the same under every seed.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop what does not draw; shuffle the rest."""
    dropped = [item for item in items if not _draws(item)]
    items[:] = [item for item in items if _draws(item)]
    config.hook.pytest_deselected(items=dropped)
    random.Random(config.option.seed).shuffle(items)


def _draws(item: pytest.Item) -> bool:
    fixtures: Sequence[str] = getattr(item, "fixturenames", ())
    return "seed" in fixtures
