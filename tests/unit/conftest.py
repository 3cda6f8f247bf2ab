from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_folders import write_folder


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a sound model folder; a keyword replaces a file's content, None leaves it out."""

    def make(name: str = "model", **files: Any) -> Path:
        return write_folder(tmp_path / name, **files)

    return make
