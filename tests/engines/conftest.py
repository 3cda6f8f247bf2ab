"""What tests of servers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import probes

if TYPE_CHECKING:
    from probes import Model


@pytest.fixture(scope="module")
def reference() -> Model:
    return probes.load("embedded")
