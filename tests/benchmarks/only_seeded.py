"""Keep the tests that sample, in an order that the seed decides.

    pytest -p tests.benchmarks.only_seeded

Every test that samples has the fixture `seed`; the others give the same result under every seed.
"""

from __future__ import annotations

import random

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop tests that do not sample; shuffle the others."""
    kept = [item for item in items if "seed" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    random.Random(config.option.seed).shuffle(kept)
    items[:] = kept
