"""What tests of servers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import probes
from probes.engines.endpoint.connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes import Model


@pytest.fixture
def forget_servers() -> Iterator[None]:
    """Forget the servers of a test: another one may get the same port."""
    yield
    connect.cache_clear()


@pytest.fixture(scope="module")
def reference() -> Model:
    return probes.load("embedded")
