from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

GB = 10**9


@pytest.fixture
def fake_torch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace torch by one whose CUDA devices have so many GB free, of 80."""

    def put(*sizes: int, mps: bool = False) -> None:
        torch: Any = ModuleType("torch")
        torch.__version__ = "9.9.9"
        torch.cuda = SimpleNamespace(
            is_available=lambda: bool(sizes),
            device_count=lambda: len(sizes),
            mem_get_info=lambda index: ((sizes[index] - 1) * GB, 80 * GB),
            memory_reserved=lambda _: 3 * GB,  # torch uses 2 of them: 1 is free, too
            memory_allocated=lambda _: 2 * GB,
        )
        torch.backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps))
        monkeypatch.setitem(sys.modules, "torch", torch)

    return put
